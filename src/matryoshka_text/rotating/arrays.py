"""Vectors that need no model: .npy files and the folders of `mtext encode`, mapped from disk."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from matryoshka_text.encoding.vectors import Vectors, open_vectors
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
    return {name: _opened(Path(path)) for name, path in zip(names_of(given), given, strict=True)}


def sample_hashes(parts: Mapping[str, Split]) -> dict[str, str]:
    """By source, the sha256 of the rows that were read: what tells one rotation's vectors from another's."""
    found = {}
    for name, part in parts.items():
        total = hashlib.sha256(part.learned.numpy().tobytes())
        total.update(part.held_back.numpy().tobytes())
        found[name] = total.hexdigest()
    return found


class _Decoded:
    """The rows of a folder of `mtext encode` as float32, whatever they are stored as."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self.shape, self.dtype = (len(vectors), vectors.manifest.dim), np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n dim"]:
        return self._vectors.floats(rows)


def _opened(path: Path) -> np.ndarray:
    if path.is_dir():
        vectors = open_vectors(path)
        if vectors.manifest.precision == "ubinary":
            raise DataError(
                f"{path}: holds vectors of one bit a dim; allowed: float32, float16 or int8; "
                "run `mtext encode` again with another --precision"
            )
        decoded: np.ndarray = _Decoded(vectors)  # type: ignore[assignment]
        return decoded
    if not path.is_file():
        raise DataError(f"{path}: there is no such file or folder; give a .npy file or a folder of `mtext encode`")
    if path.suffix != ".npy":
        raise DataError(
            f"{path}: is no .npy file; allowed: .npy and folders of `mtext encode`; save it with numpy.save"
        )
    try:
        rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as an array ({error}); allowed: floating-point numbers, saved with numpy.save "
            "without pickles; save it again"
        ) from error
    return rows
