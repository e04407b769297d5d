"""How a coordinate is stored: float32, float16, one of 256 steps, or one bit."""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

__all__ = ["STORED_TYPES", "Ranges", "Stored", "ranges_of", "restored", "stored"]

Stored = Literal["float32", "float16", "int8", "ubinary"]
Ranges = tuple[tuple[float, ...], tuple[float, ...]]
STORED_TYPES: dict[Stored, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
    "ubinary": np.dtype("u1"),
}


def ranges_of(vectors: Float32[np.ndarray, "n dim"]) -> Ranges:
    """The least and the greatest value of each coordinate: what 256 steps are laid between."""
    return tuple(map(float, vectors.min(axis=0))), tuple(map(float, vectors.max(axis=0)))


def stored(
    vectors: Float32[np.ndarray, "n dim"], precision: Stored, ranges: Ranges | None
) -> Shaped[np.ndarray, "n columns"]:
    """The vectors as they are kept.

    int8: round((x - least) / step) - 128 with step = (greatest - least) / 255, values outside the range at its ends
    (sentence-transformers' quantize_embeddings wraps round there, and rounds down). ubinary: np.packbits(x > 0).
    """
    if precision == "ubinary":
        return np.packbits(vectors > 0, axis=1)
    if precision == "int8":
        assert ranges is not None
        least, step = _steps(ranges)
        steps: np.ndarray = np.clip(np.rint((vectors - least) / step) - 128, -128, 127)
        return steps.astype(np.int8)
    return vectors.astype(STORED_TYPES[precision])


def restored(
    rows: Shaped[np.ndarray, "n columns"], precision: Stored, ranges: Ranges | None, dim: int
) -> Float32[np.ndarray, "n dim"]:
    """The vectors as well as they can be had back; a bit gives 1 or -1."""
    if precision == "ubinary":
        bits: UInt8[np.ndarray, "n dim"] = np.unpackbits(rows, axis=1, count=dim)
        return bits.astype(np.float32) * 2 - 1
    if precision == "int8":
        assert ranges is not None
        least, step = _steps(ranges)
        return ((rows.astype(np.float32) + 128) * step + least).astype(np.float32)
    return rows.astype(np.float32)


def _steps(ranges: Ranges) -> tuple[Float32[np.ndarray, " dim"], Float32[np.ndarray, " dim"]]:
    least, greatest = (np.asarray(bound, dtype=np.float32) for bound in ranges)
    step = (greatest - least) / 255
    return least, np.where(step > 0, step, np.float32(1))
