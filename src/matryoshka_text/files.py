"""Files and folders that appear whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from matryoshka_text.errors import RunError

__all__ = [
    "added_to_folder",
    "held",
    "locked",
    "require_space",
    "sha256_of",
    "sweep",
    "sync_folder",
    "whole_folder",
    "write_whole",
]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` next to `path`, force it to disk, then rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        # mkstemp makes private files; a result should be as readable as any other file its user writes.
        Path(beside).chmod(0o666 & ~_umask())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; it takes the place of `path` only when the block ends well, and vanishes when it does not.

    A folder already at `path` is moved aside first and removed last, so a kill leaves the old one or the new one
    (between the two renames, which take microseconds, the old one stands next to it as `.<name>.old`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield beside
        for file in beside.rglob("*"):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        beside.chmod(0o777 & ~_umask())
        old = path.parent / f".{path.name}.old"
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        beside.rename(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    sync_folder(path.parent)
    shutil.rmtree(path.parent / f".{path.name}.old", ignore_errors=True)


@contextmanager
def added_to_folder(path: Path, replacing: Sequence[str] = ()) -> Iterator[Path]:
    """A folder to fill; when the block ends well its files take their places in `path`, one whole file after the other.

    What else is in `path` (a repository's .git, somebody's notes) stays, except for old files that match a pattern of
    `replacing`: they would be read together with the new ones. If `path` is missing or empty, the new folder takes its
    place at once.
    """
    path = path.resolve()
    if not path.exists() or not any(path.iterdir()):
        with whole_folder(path) as beside:
            yield beside
        return
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as made:
        beside = Path(made)
        yield beside
        for old in (file for pattern in replacing for file in path.glob(pattern)):
            if old.is_file() and not (beside / old.relative_to(path)).exists():
                old.unlink()
        for file in sorted(p for p in beside.rglob("*") if p.is_file()):
            target = path / file.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    sync_folder(path)


def sync_folder(path: Path) -> None:
    """Force the folder's own entries (names, renames) to disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """`path` locked against other programs that lock it too; they wait. It ends with the process, killed or not.

    The lock is the file `.<name>.lock` next to it, because `path` itself is replaced by renaming.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{path.name}.lock"):
        yield


@contextmanager
def held(folder: Path, *, doing: str) -> Iterator[None]:
    """`folder`, made if it is missing and locked against a second program. The lock ends with the process.

    `RunError` if another program holds it ("another process is `doing` here") or if it cannot be written.
    """
    lock = FileLock(folder / ".lock", blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunError(f"{folder}: another process is {doing} here; wait for it, or give another --out") from error
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); give another folder with --out") from error
    try:
        yield
    finally:
        lock.release()


def sweep(folder: Path, pattern: str = ".*.part") -> None:
    """Remove what a kill left half written in `folder`: files and folders whose names match `pattern`."""
    for part in folder.glob(pattern):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def require_space(path: Path, needed: int, *, what: str) -> None:
    """`RunError` if the disk under `path` has less than `needed` bytes free."""
    there = path
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise RunError(
            f"{path}: {what} needs {needed / 1e6:,.1f} MB, and the disk has {free / 1e6:,.1f} MB free; "
            f"free some space, or write elsewhere with --out"
        )


def sha256_of(path: Path) -> str:
    """The file's sha256 as 64 hex digits, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
