"""The folder of an encoding: whether it may be written, and by whom."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matryoshka_text.encoding.manifest import FILE, JOINED, Manifest, read_manifest
from matryoshka_text.errors import RunError

__all__ = ["earlier", "held", "sweep"]


def earlier(folder: Path) -> Manifest | None:
    """What an earlier run has begun in `folder`; None for a new or empty one, `RunError` for anybody else's."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise RunError(f"{folder}: is a file; allowed: a folder; give another with --out")
    if (folder / FILE).exists():
        return read_manifest(folder)
    strangers = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    if strangers:
        raise RunError(
            f"{folder}: holds {', '.join(strangers[:5])}, but no {FILE}, so it is no folder of vectors; "
            "give another with --out"
        )
    return None


@contextmanager
def held(folder: Path, *, mine: bool) -> Iterator[None]:
    """The folder, made where it is missing and held against a second run in it; a kill lets go of it by itself.

    `mine` False: one of several processes of a run, whose first one holds it for all.
    """
    if not mine:
        yield
        return
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); give another folder with --out") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise RunError(f"{folder}: another process is encoding here; wait for it, or give another --out") from error
    try:
        yield
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove what a kill left half written."""
    for name in (FILE, "part-*.npy", JOINED):
        for part in folder.glob(f".{name}.*.part"):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)
