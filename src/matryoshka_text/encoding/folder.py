"""The folder of an encoding: whether it may be written, and by whom."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matryoshka_text import files
from matryoshka_text.encoding.manifest import FILE, JOINED, Manifest
from matryoshka_text.records import earlier_record

__all__ = ["earlier", "held", "sweep"]


def earlier(folder: Path) -> Manifest | None:
    """What an earlier run has begun in `folder`; None for a new or empty one, `RunError` for anybody else's."""
    return earlier_record(folder / FILE, Manifest, "mtext encode")


@contextmanager
def held(folder: Path, *, mine: bool) -> Iterator[None]:
    """The folder, made where it is missing and held against a second run in it; a kill lets go of it by itself.

    `mine` False: one of several processes of a run, whose first one holds it for all.
    """
    if not mine:
        yield
        return
    with files.held(folder, doing="encoding"):
        yield


def sweep(folder: Path) -> None:
    """Remove what a kill left half written."""
    for name in (FILE, "part-*.npy", JOINED):
        files.sweep(folder, f".{name}.*.part")
