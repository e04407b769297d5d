"""Files and folders that appear whole or not at all."""

import errno
import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from matryoshka_text.errors import RunError

__all__ = [
    "added_to_folder",
    "cache_folder",
    "expanded",
    "held",
    "locked",
    "require_space",
    "sha256_of",
    "sweep",
    "sweep_shared",
    "sync_folder",
    "whole_file",
    "whole_folder",
    "write_whole",
]


def expanded(name: str | Path) -> Path:
    """`name` as a path, "~" as the home folder; the "~name" of nobody is a name like any other, as in a shell."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` as `whole_file` does."""
    with whole_file(path) as out:
        out.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file next to `path` to write to; it is forced to disk and renamed: a reader sees the old file or the new one.

    If the block fails, it vanishes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.{_owner()}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
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
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.{_owner()}.", suffix=".part", dir=path.parent))
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
    """A folder to fill; when the block ends well it takes the place of `path`, with what else is in that.

    What else is in `path` (a repository's .git, somebody's notes) is linked into the new folder, except for old files
    that match a pattern of `replacing`: they would be read together with the new ones. A kill leaves the old folder or
    the new one. If `path` is where a program works or a file system begins, it has to stay, and each file of it is
    replaced after the other.
    """
    path = path.resolve()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if path.is_dir() and (Path.cwd().is_relative_to(path) or path.is_mount()):
        with _one_by_one(path, replacing) as beside:
            yield beside
        return
    with whole_folder(path) as beside:
        yield beside
        if path.is_dir():
            old = {file for pattern in replacing for file in path.glob(pattern) if file.is_file()}
            new = {path / file.relative_to(beside) for file in beside.rglob("*") if not file.is_dir()}
            _link_others(path, beside, old | new)


def _link_others(path: Path, beside: Path, left_out: set[Path]) -> None:
    """Put every file of `path` that is not `left_out` into `beside` too: the same file, or a copy if it cannot be."""

    def linked(source: str, target: str) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            shutil.copy2(source, target)

    def ignored(home: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(home, name) in left_out]

    shutil.copytree(path, beside, symlinks=True, ignore=ignored, copy_function=linked, dirs_exist_ok=True)


@contextmanager
def _one_by_one(path: Path, replacing: Sequence[str]) -> Iterator[Path]:
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


def cache_folder() -> Path:
    """The folder of what can be made again: MTEXT_CACHE, else mtext in the user's cache folder."""
    given = os.environ.get("MTEXT_CACHE")
    return expanded(given or os.environ.get("XDG_CACHE_HOME") or "~/.cache") / ("" if given else "mtext")


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
def held(folder: Path, *, doing: str, replaced: bool = False) -> Iterator[None]:
    """`folder`, made if it is missing and locked against a second program. The lock ends with the process.

    `replaced`: a folder that is replaced as a whole. It is not made, and its lock is `.<name>.lock` next to it.

    Hold the folder first, then look what is in it: no other program can change the answer. A folder that was made here
    and in which nothing was put is gone again at the end. `RunError` if `folder` is a file, if another program holds it
    ("another process is `doing` here"), or if it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; allowed: a folder; give another with --out")
    home = folder.resolve().parent if replaced else folder
    path = home / (f".{folder.resolve().name}.lock" if replaced else ".lock")
    lock = FileLock(path, blocking=False)
    made = [place for place in (home, *home.parents) if not place.exists()]
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunError(f"{folder}: another process is {doing} here; wait for it, or give another --out") from error
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); give another folder with --out") from error
    try:
        yield
    finally:
        # While it is held: whoever has opened the file by now finds that it is gone, and does not take it for a lock.
        with suppress(OSError):
            path.unlink()
            for place in made:
                place.rmdir()
        lock.release()


def sweep(folder: Path, pattern: str = ".*.part") -> None:
    """Remove what a kill left half written in `folder`, which is held: files and folders of names like `pattern`."""
    _remove(folder.glob(pattern))


def sweep_shared(folder: Path) -> None:
    """Remove what kills left half written in `folder` and below, where other programs may be writing just now.

    Only what a process of this machine began that is no more; the name of a half-written file says which one did.
    """
    if os.name == "posix":
        ours = re.compile(rf"\.{re.escape(_node())}-([0-9]+)\.[^.]+\.part")
        found = [(path, ours.search(path.name)) for path in folder.rglob(".*.part")]
        _remove(path for path, process in found if process is not None and not _lives(int(process[1])))


def _owner() -> str:
    """This process, in the name of a file that it is writing."""
    return f"{_node()}-{os.getpid()}"


def _node() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node())[:16] or "here"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _remove(parts: Iterable[Path]) -> None:
    for part in parts:
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
    """The file's sha256 as 64 hex digits, read in pieces; of a folder, that of the names and hashes of its files."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith((".", "cache-")))
        told = "".join(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n" for file in files)
        return hashlib.sha256(told.encode()).hexdigest()
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
