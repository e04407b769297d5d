"""Data sets of the hub brought into a data root, whole or not at all, each with a manifest of its bytes.

<out>/mteb/<org>__<name>/ holds the repository's files at one revision and `.mtext.json`, the manifest: {"repo": …,
"revision": …, "files": {relative name: sha256}}. What is downloaded is checked against the hub's own hashes.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from matryoshka_text.errors import DataError, MtextError, RunError
from matryoshka_text.files import expanded, locked, require_space, sha256_of, sync_folder, write_whole

if TYPE_CHECKING:
    from huggingface_hub import RepoFile

__all__ = ["MANIFEST", "Fetched", "Wanted", "fetch", "verified_revision"]

MANIFEST = ".mtext.json"


@dataclass(frozen=True)
class Wanted:
    """A data set at one revision, and the tasks that read it."""

    repo: str
    revision: str
    tasks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.repo} @ {self.revision[:12]}"


@dataclass(frozen=True)
class Fetched:
    """What became of one data set: `problem` says why it was not to be had, `size` is in bytes."""

    wanted: Wanted
    folder: Path
    state: Literal["fetched", "already there", "failed"]
    size: int = 0
    problem: str | None = None

    def __str__(self) -> str:
        about = self.problem if self.problem else f"{self.size / 1e6:,.1f} MB in {self.folder}"
        return f"{self.wanted}: {self.state}, {about}"


def fetch(
    wanted: Sequence[Wanted], out: Path, *, on_line: Callable[[str], None] = lambda line: None
) -> tuple[Fetched, ...]:
    """Every data set in <out>/mteb/, those already there and unchanged left alone; one that fails stops no other.

    A run that was killed goes on with the data set it was at, file by file. Two at once in one `out`: one waits.
    """
    root = expanded(out).resolve() / "mteb"
    done: list[Fetched] = []
    with locked(root / "fetch"):
        for number, one in enumerate(wanted, start=1):
            before = next((other.wanted for other in done if other.wanted.repo == one.repo), None)
            folder = root / one.repo.replace("/", "__")
            if before is None:
                result = _fetch_one(one, folder, on_line)
            else:
                result = Fetched(one, folder, "failed", problem=_two_revisions(before, one))
            on_line(f"[{number}/{len(wanted)}] {result}")
            done.append(result)
    return tuple(done)


def verified_revision(folder: Path) -> str | None:
    """The revision in the folder's manifest when its files, and no others, are there with these bytes; else None.

    Hidden files do not count.
    """
    manifest = _manifest(folder)
    if manifest is None or _visible(folder) != set(manifest["files"]):
        return None
    same = all(sha256_of(folder / name) == digest for name, digest in manifest["files"].items())
    return str(manifest["revision"]) if same else None


def _two_revisions(before: Wanted, wanted: Wanted) -> str:
    return (
        f"{', '.join(before.tasks)} read it at {before.revision[:12]}, and one folder holds one revision; "
        f"put {', '.join(wanted.tasks)} into a suite of their own, fetched into another --out"
    )


def _fetch_one(wanted: Wanted, folder: Path, on_line: Callable[[str], None]) -> Fetched:
    try:
        if verified_revision(folder) == wanted.revision:
            size = sum((folder / name).stat().st_size for name in _visible(folder))
            return Fetched(wanted, folder, "already there", size)
        _require_ours(folder)
        _require_online()
        if (before := _manifest(folder)) is not None:
            on_line(f"{wanted}: takes the place of {before['revision'][:12]}, or of changed files, in {folder}")
        size = _download(wanted, folder, on_line)
    except Exception as error:  # whatever the hub, the network and the disk raise: the others are fetched still
        return Fetched(wanted, folder, "failed", problem=_reason(error, wanted))
    return Fetched(wanted, folder, "fetched", size)


def _download(wanted: Wanted, folder: Path, on_line: Callable[[str], None]) -> int:
    """Bytes of the data set, now in `folder`. What is half there stands beside under a name that the next run finds."""
    from huggingface_hub import HfApi, RepoFile, snapshot_download

    listed = HfApi().list_repo_tree(wanted.repo, recursive=True, revision=wanted.revision, repo_type="dataset")
    files = [one for one in listed if isinstance(one, RepoFile) and not _hidden(Path(one.path))]
    if not files:
        raise DataError("the repository holds no file at this revision")
    size = sum(one.size for one in files)
    beside = folder.parent / f".{folder.name}.{re.sub('[^A-Za-z0-9]', '-', wanted.revision)[:12]}.part"
    there = sum(file.stat().st_size for file in beside.rglob("*") if file.is_file())
    require_space(folder, max(0, size - there), what=str(wanted))
    on_line(f"{wanted}: {size / 1e6:,.1f} MB, {len(files)} files" + (f", {there / 1e6:,.1f} there" if there else ""))
    snapshot_download(
        wanted.repo,
        repo_type="dataset",
        revision=wanted.revision,
        local_dir=beside,
        ignore_patterns=[".*", "*/.*"],
    )
    _require_same(beside, files)
    shutil.rmtree(beside / ".cache", ignore_errors=True)
    digests = {one.path: sha256_of(beside / one.path) for one in files}
    manifest = {"repo": wanted.repo, "revision": wanted.revision, "files": digests}
    write_whole(beside / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    _put_in_place(beside, folder)
    return size


def _require_same(beside: Path, files: "list[RepoFile]") -> None:
    """`DataError` for a file that is not what the hub says it is; the next run fetches it anew."""
    wrong = [one.path for one in files if not (beside / one.path).is_file() or not _is(beside / one.path, one)]
    extra = _visible(beside) - {one.path for one in files}
    for name in (*wrong, *extra):
        (beside / name).unlink(missing_ok=True)
    if wrong:
        raise DataError(f"{', '.join(wrong[:3])}: not the bytes that the hub lists; run the same command again")


def _is(path: Path, listed: "RepoFile") -> bool:
    """Whether the file is the listed one: by sha256 for large files, else by git's blob id."""
    if listed.lfs is not None:
        return sha256_of(path) == listed.lfs.sha256
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    digest.update(path.read_bytes())
    return digest.hexdigest() == listed.blob_id


def _put_in_place(beside: Path, folder: Path) -> None:
    """Rename the finished folder; an older one goes away first and is removed last."""
    for file in beside.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    old = folder.parent / f".{folder.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _require_ours(folder: Path) -> None:
    """`RunError` if the folder holds files that no fetch brought: they are not to be lost."""
    if not folder.exists():
        return
    manifest = _manifest(folder)
    foreign = sorted(_visible(folder) - set(manifest["files"] if manifest else ()))
    if foreign:
        lacks = "has no manifest" if manifest is None else "is not only what its manifest lists"
        raise RunError(
            f"{folder} is there and {lacks} (found {', '.join(foreign[:3])}); move it away, or fetch into another --out"
        )


def _require_online() -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise RunError("HF_HUB_OFFLINE is set; unset it on a connected machine and copy the folder here")


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and isinstance(found.get("files"), dict) and isinstance(found.get("revision"), str)
    return found if whole else None


def _visible(folder: Path) -> set[str]:
    """The relative names of the files that are no hidden ones."""
    inside = ((file, file.relative_to(folder)) for file in folder.rglob("*"))
    return {name.as_posix() for file, name in inside if file.is_file() and not _hidden(name)}


def _hidden(name: Path) -> bool:
    # A hub that lists ../x or /x gets neither.
    return name.is_absolute() or any(part.startswith(".") for part in name.parts)


def _reason(error: Exception, wanted: Wanted) -> str:
    """Why the data set was not to be had, and the way out."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/datasets/{wanted.repo}"
    if isinstance(error, MtextError):
        return str(error)
    if isinstance(error, errors.GatedRepoError):
        return f"gated: accept its terms on {page}, then give a token (hf auth login, or HF_TOKEN)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"not found: there is no such data set, or it is private; look at {page} (a token: hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"not found: {page} has no revision {wanted.revision}; a newer mteb may name another"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error.strerror}); free some space and run the same command again, it goes on there"
    if isinstance(error, PermissionError):
        return f"{error.filename}: {error.strerror}; fetch into another --out"
    first = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {''.join(first)}; run the same command again, it goes on where this one stopped"
