"""A rotation for vectors of any origin: numpy in, numpy out, one file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from matryoshka_text.errors import DataError
from matryoshka_text.files import write_whole
from matryoshka_text.rotation.fit import FitSettings
from matryoshka_text.rotation.sources import Vectors, fit_sources, split_sources

__all__ = ["TENSOR", "Rotation"]

TENSOR = "rotation"
_BLOCK = 8192
# In float64. A float32 file of somebody else's, rounded once, is within 1e-6.
_ORTHOGONAL = 1e-5


class Rotation:
    """An orthogonal matrix [width, width] that is multiplied to vectors from the right: `vectors @ matrix`.

    Inner products and lengths at full width stay as they are; prefixes keep more of the neighbourhoods. `dims` are the
    prefix lengths it was learned for, `record` what else is known of how it came about.
    """

    def __init__(
        self, matrix: Float[np.ndarray, "width width"], dims: Sequence[int], record: Mapping[str, object] | None = None
    ) -> None:
        """`ValueError` if the matrix is not square or not orthogonal to 1e-5."""
        self.matrix: Float64[np.ndarray, "width width"] = np.array(matrix, dtype=np.float64)
        if self.matrix.ndim != 2 or self.matrix.shape[0] != self.matrix.shape[1] or not len(self.matrix):
            raise ValueError(f"the matrix has shape {list(self.matrix.shape)}; allowed: [width, width]")
        off = float(np.abs(self.matrix.T @ self.matrix - np.eye(self.width)).max())
        if not off <= _ORTHOGONAL:
            raise ValueError(f"the matrix is not orthogonal (off by {off:.1e}); allowed: at most {_ORTHOGONAL:.0e}")
        self.dims, self.record = tuple(int(dim) for dim in dims), dict(record or {})
        if any(not 1 <= dim <= self.width for dim in self.dims):
            raise ValueError(f"dims are {list(self.dims)}; allowed: 1 to {self.width}, the width of the matrix")

    @property
    def width(self) -> int:
        """The length of the vectors it turns."""
        return len(self.matrix)

    @classmethod
    def fit(
        cls,
        vectors: Vectors | Mapping[str, Vectors],
        dims: Sequence[int],
        settings: FitSettings | None = None,
        *,
        most: int = 20_000,
        held_back: float = 0.1,
    ) -> "Rotation":
        """The rotation learned from vectors of any length and scale: an array, or several by source; see `learn`."""
        given = vectors if isinstance(vectors, Mapping) else {"vectors": vectors}
        sources = {name: np.asanyarray(rows) for name, rows in given.items()}
        settings = settings or FitSettings()
        parts = split_sources(sources, most=most, held_back=held_back, seed=settings.seed)
        matrix, record = fit_sources(parts, dims, settings)
        return cls(matrix, dims, record)

    def apply(
        self,
        vectors: Vectors,
        dim: int | None = None,
        *,
        unit: bool | None = None,
        out: np.ndarray | None = None,
    ) -> Float[np.ndarray, "rows dim"]:
        """The first `dim` coordinates of the rotated vectors (None: all), float32.

        `unit` brings rows back to length 1; None: if `dim` is given, as `MatryoshkaEncoder.encode` does. At full
        width without `unit`, inner products are those of the vectors given. Rows are read and written in blocks, so
        `vectors` and `out` may be memory-mapped files larger than memory; `out` is what comes back. `ValueError` naming
        the rows that hold NaN or infinity.
        """
        vectors = np.asanyarray(vectors)  # keeps a mapped file mapped
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise ValueError(f"vectors have shape {list(vectors.shape)}; allowed: [rows, {self.width}]")
        if dim is not None and not 1 <= dim <= self.width:
            raise ValueError(f"dim is {dim}; allowed: 1 to {self.width}")
        columns = self.matrix[:, :dim].astype(np.float32)
        found = _output(out, (len(vectors), columns.shape[1]))
        for start in range(0, len(vectors), _BLOCK):
            block = np.asarray(vectors[start : start + _BLOCK], dtype=np.float64)
            if len(bad := np.flatnonzero(~np.isfinite(block).all(axis=1))):
                shown = ", ".join(str(start + row) for row in bad[:5].tolist())
                raise ValueError(f"vectors: rows {shown} (from 0) hold NaN or infinity; allowed: finite numbers")
            shortened = unit or (unit is None and dim is not None)
            if shortened:  # whatever the scale was: float32 holds a row whose largest entry is 1
                block /= np.maximum(np.abs(block).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
            turned = block.astype(np.float32) @ columns
            if shortened:
                turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
            found[start : start + _BLOCK] = turned
        return found

    def then(self, later: "Rotation") -> "Rotation":
        """The one rotation that does what this and then `later` do."""
        return Rotation(self.matrix @ later.matrix, later.dims, later.record)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole: the matrix in float64 as "rotation", dims and record as metadata."""
        # One entry: safetensors writes several in an order that differs from process to process.
        metadata = {TENSOR: json.dumps({"dims": self.dims, "record": self.record})}
        write_whole(Path(path), save({TENSOR: np.ascontiguousarray(self.matrix)}, metadata))

    @classmethod
    def open(cls, path: str | Path) -> "Rotation":
        """The rotation that `save` wrote; `DataError` for any other file."""
        path = Path(path)
        way_out = "give a file that `mtext rotate` has written"
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; {way_out}")
        try:
            with safe_open(path, framework="numpy") as file:
                if TENSOR not in file.keys():
                    names = ", ".join(list(file.keys())[:5]) or "none"
                    raise DataError(f"{path}: found the tensors {names}; allowed: one called {TENSOR!r}; {way_out}")
                matrix = file.get_tensor(TENSOR)
                known = json.loads((file.metadata() or {}).get(TENSOR, "{}"))
            return cls(matrix, known.get("dims", ()), known.get("record", {}))
        except DataError:
            raise
        except (SafetensorError, AttributeError, ValueError, TypeError, OSError, RecursionError) as error:
            raise DataError(f"{path}: cannot be read as a rotation ({error}); {way_out}") from error


def _output(out: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    if out is None:
        return np.empty(shape, dtype=np.float32)
    if out.shape != shape or not np.issubdtype(out.dtype, np.floating):
        raise ValueError(f"out has shape {list(out.shape)} of {out.dtype}; allowed: {list(shape)} of floating point")
    return out
