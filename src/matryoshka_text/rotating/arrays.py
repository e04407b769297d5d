"""Vectors that need no model: .npy files and the folders of `mtext encode`, mapped from disk."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from matryoshka_text.encoding.vectors import open_floats
from matryoshka_text.errors import DataError
from matryoshka_text.rotating.texts import names_of
from matryoshka_text.rotation import Split

__all__ = ["open_arrays", "sample_hashes"]


def open_arrays(paths: Sequence[str | Path]) -> dict[str, np.ndarray]:
    """The vectors by source, of which only the rows asked for are read.

    `DataError` for what is neither an array of floating-point numbers with a row a vector, nor a folder of vectors.
    """
    if not paths:
        raise DataError("--vectors: none are given; allowed: .npy files and folders of `mtext encode`")
    given = [str(path) for path in paths]
    return {name: open_floats(Path(path)) for name, path in zip(names_of(given), given, strict=True)}


def sample_hashes(parts: Mapping[str, Split]) -> dict[str, str]:
    """By source, the sha256 of the rows that were read: what tells one rotation's vectors from another's."""
    found = {}
    for name, part in parts.items():
        total = hashlib.sha256(part.learned.numpy().tobytes())
        total.update(part.held_back.numpy().tobytes())
        found[name] = total.hexdigest()
    return found
