"""How a coordinate is stored: float32, float16, one of 256 steps, or one bit; and the files of such rows."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from matryoshka_text.encoding.manifest import Manifest, Stored
from matryoshka_text.files import write_whole

__all__ = ["STORED_TYPES", "part_path", "ranges_of", "read_part", "restored", "stored", "write_part"]

STORED_TYPES: dict[Stored, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int8": np.dtype("i1"),
    "ubinary": np.dtype("u1"),
}
Ranges = tuple[tuple[float, ...], tuple[float, ...]]


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


def part_path(folder: Path, part: int) -> Path:
    """Where the rows of a part are."""
    return folder / f"part-{part:05d}.npy"


def write_part(folder: Path, part: int, rows: Shaped[np.ndarray, "n columns"]) -> None:
    """Put a part in place, whole and on disk."""
    data = io.BytesIO()
    np.save(data, rows, allow_pickle=False)
    write_whole(part_path(folder, part), data.getvalue())


def read_part(folder: Path, part: int, manifest: Manifest) -> Shaped[np.ndarray, "n columns"] | None:
    """The rows of a part, mapped from disk; None where it is missing, short, or of another shape or type."""
    try:
        rows: np.ndarray = np.load(part_path(folder, part), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    right = rows.shape == (manifest.rows_of(part), manifest.columns) and rows.dtype == STORED_TYPES[manifest.precision]
    return rows if right else None
