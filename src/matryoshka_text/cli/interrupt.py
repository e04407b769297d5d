"""Ctrl-C and SIGTERM: one line, whatever was going on."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

__all__ = ["AGAIN", "interruptions", "status_of"]

AGAIN = "run the same command again to go on (`mtext train`: with --resume)"


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """The signals so far that ask the program to end. Each raises `KeyboardInterrupt` as well.

    Within an import it ends the process at once. An import that is cut off leaves half a module behind: libraries that
    load their parts when they are first used then look for a part in itself (numpy: RecursionError), or swallow the
    exception and go on for ever.
    """
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if _importing(frame):
            os.write(2, f"interrupted; {AGAIN}\n".encode())
            os._exit(status_of(seen))
        raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def status_of(signals: Sequence[int]) -> int:
    """The exit status that says which signal came first, as a shell gives it: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (signals[0] if signals else signal.SIGINT)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
