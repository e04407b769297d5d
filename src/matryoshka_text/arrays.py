"""Arrays in .npy files, which may come from anybody."""

from pathlib import Path

import numpy as np

__all__ = ["open_array"]

# What numpy raises for a header that is broken, or of a shape that no file can have.
_FAULTS = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, SyntaxError),
    *(ArithmeticError, MemoryError, RecursionError),
)


def open_array(path: Path) -> np.ndarray:
    """The array in a .npy file, mapped from disk; `ValueError` saying why there is none, on one line.

    Archives and pickled objects are refused, and nothing of them is read.
    """
    if not path.is_file():
        raise ValueError("there is no such file" if not path.exists() else "it is a folder, a pipe or a device")
    try:
        with np.errstate(over="raise"):
            found: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except _FAULTS as error:
        words = " ".join(str(error).split()) or "its header is too deep"
        raise ValueError(words[:200]) from error
    return found
