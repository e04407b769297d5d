"""Arrays in files: .npy ones, which may come from anybody, and the bytes of safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

__all__ = ["open_array", "packed"]

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


def packed(tensors: Mapping[str, np.ndarray], about: Mapping[str, str]) -> bytes:
    """A safetensors file with the metadata `about`, always of the same bytes.

    The library writes several words of metadata in an order that differs from process to process.
    """
    made: bytes = save(dict(tensors))
    end = 8 + int.from_bytes(made[:8], "little")
    header = json.dumps({"__metadata__": dict(about), **json.loads(made[8:end])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the numbers behind it begin at a multiple of 8
    return len(header).to_bytes(8, "little") + header + made[end:]
