"""Ctrl-C while a module is being imported."""

import os
import signal
from types import FrameType

__all__ = ["end_if_importing"]

_STATUS = 130


def end_if_importing() -> None:
    """From now on Ctrl-C within an import ends the process at once; at any other time it is a `KeyboardInterrupt`.

    An import that is cut off leaves half a module behind. Libraries that load their parts when they are first used
    then look for a part in itself (numpy: RecursionError), or swallow the exception and go on for ever.
    """
    signal.signal(signal.SIGINT, _interrupted)


def _interrupted(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"interrupted\n")
            os._exit(_STATUS)
        frame = frame.f_back
    raise KeyboardInterrupt
