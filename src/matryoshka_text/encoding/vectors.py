"""Vectors on disk: the parts that `mtext encode` writes, read as one array without being in memory, and .npy files."""

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from matryoshka_text.arrays import open_array
from matryoshka_text.encoding.manifest import FILE, Manifest, read_manifest
from matryoshka_text.errors import DataError
from matryoshka_text.files import require_space, sha256_of, sync_folder, write_whole
from matryoshka_text.vectors.codec import STORED_TYPES, restored

__all__ = [
    "Vectors",
    "changed",
    "open_floats",
    "open_vectors",
    "read_part",
    "read_sums",
    "tidy_sums",
    "write_part",
]

# What the bytes of each part are, in the words of sha256sum: `sha256sum -c parts.sha256` checks them.
SUMS = "parts.sha256"


def open_vectors(folder: str | Path) -> "Vectors":
    """The vectors in `folder`; `DataError` if parts are missing or damaged, `RunError` for another folder."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    way_out = "run the same `mtext encode` again: it does only what is missing"
    if manifest.parts is None:
        raise DataError(f"{folder}: its {FILE} has no number of rows: standard input broke off; encode it again")
    missing = [part for part in range(manifest.parts) if read_part(folder, part, manifest) is None]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {manifest.parts} parts are missing or damaged "
            f"({part_path(folder, missing[0]).name}{', …' if len(missing) > 1 else ''}); {way_out}"
        )
    return Vectors(folder, manifest)


class Vectors:
    """Rows [n, columns] over many part files, each mapped from disk when it is read.

    `vectors[7]` is a row, `vectors[7:9]` and `vectors[[7, 2]]` are rows in memory; `len(vectors)` counts them. They
    come as they are stored; `floats` gives float32 back.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        assert manifest.rows is not None
        self.folder, self.manifest = folder, manifest
        self.shape = (manifest.rows, manifest.columns)
        self.dtype = STORED_TYPES[manifest.precision]
        self._mapped: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice | np.ndarray | list[int]) -> Shaped[np.ndarray, "..."]:
        if isinstance(key, slice):
            return self._rows(np.arange(*key.indices(len(self))))
        rows = np.asarray(key)
        if rows.dtype == bool or (rows.size and not np.issubdtype(rows.dtype, np.integer)):
            raise TypeError(f"rows are {key!r}; allowed: a whole number, a slice, or whole numbers")
        rows = rows.astype(np.int64)
        if rows.size and (rows.min() < -len(self) or rows.max() >= len(self)):
            raise IndexError(f"rows are {key!r}; allowed: -{len(self)} to {len(self) - 1}")
        found = self._rows(np.atleast_1d(np.where(rows < 0, rows + len(self), rows)))
        return found if rows.ndim else found[0]

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("the vectors lie in several files, so they cannot be had as one array without a copy")
        return self[:] if dtype is None else self[:].astype(dtype)

    def parts(self) -> Iterator[Shaped[np.ndarray, "rows columns"]]:
        """The rows part by part, in order, mapped from disk."""
        assert self.manifest.parts is not None
        for part in range(self.manifest.parts):
            yield self._part(part)

    def floats(self, key: int | slice | np.ndarray | list[int]) -> Float32[np.ndarray, "..."]:
        """Rows as float32: those of int8 from the manifest's ranges, a bit as 1 or -1."""
        rows, m = self[key], self.manifest
        found = restored(np.atleast_2d(rows), m.precision, m.ranges, m.dim)
        return found if rows.ndim == 2 else found[0]

    def join(self, path: str | Path) -> Path:
        """One .npy file [n, columns] at `path`, written part by part, whole or not at all."""
        path = Path(path)
        require_space(path, self.shape[0] * self.shape[1] * self.dtype.itemsize, what="one file of all vectors")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as made:
            beside = Path(made) / "joined.npy"
            with beside.open("wb") as out:
                head = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
                np.lib.format.write_array_header_1_0(out, head)
                for rows in self.parts():
                    out.write(np.ascontiguousarray(rows).data)
                out.flush()
                os.fsync(out.fileno())
            beside.replace(path)
        sync_folder(path.parent)
        return path

    def _part(self, part: int) -> np.ndarray:
        if part not in self._mapped:
            rows = read_part(self.folder, part, self.manifest)
            if rows is None:
                raise DataError(f"{part_path(self.folder, part)}: is missing or damaged since it was opened")
            self._mapped[part] = rows
        return self._mapped[part]

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        parts = rows // self.manifest.rows_per_part
        for part in np.unique(parts):
            here = parts == part
            found[here] = self._part(int(part))[rows[here] - part * self.manifest.rows_per_part]
        return found


class _Floats:
    """The rows of a folder of `mtext encode` as float32, whatever they are stored as."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self.shape, self.dtype = (len(vectors), vectors.manifest.dim), np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n dim"]:
        return self._vectors.floats(rows)


def open_floats(path: Path) -> np.ndarray:
    """The vectors in a .npy file or in a folder of `mtext encode`, of which only the rows asked for are read.

    `DataError` for what is neither, and for a folder of vectors of one bit a dim.
    """
    if path.is_dir():
        vectors = open_vectors(path)
        if vectors.manifest.precision == "ubinary":
            raise DataError(
                f"{path}: holds vectors of one bit a dim; allowed: float32, float16 or int8; "
                "run `mtext encode` again with another --precision"
            )
        decoded: np.ndarray = _Floats(vectors)  # type: ignore[assignment]
        return decoded
    if not path.is_file():
        raise DataError(f"{path}: there is no such file or folder; give a .npy file or a folder of `mtext encode`")
    if path.suffix != ".npy":
        raise DataError(
            f"{path}: is no .npy file; allowed: .npy and folders of `mtext encode`; save it with numpy.save"
        )
    try:
        found = open_array(path)
        if found.ndim != 2 or 0 in found.shape or not np.issubdtype(found.dtype, np.floating):
            raise ValueError(f"it has shape {list(found.shape)} of {found.dtype}")
        return found
    except ValueError as error:
        raise DataError(
            f"{path}: cannot be read as an array ({error}); allowed: [rows, width] of floating-point numbers, saved "
            "with numpy.save without pickles; save it again"
        ) from error


def part_path(folder: Path, part: int) -> Path:
    """Where the rows of a part are."""
    return folder / f"part-{part:05d}.npy"


def write_part(folder: Path, part: int, rows: Shaped[np.ndarray, "n columns"]) -> None:
    """Put a part in place, whole and on disk, its sum first."""
    data = io.BytesIO()
    np.save(data, rows, allow_pickle=False)
    path = part_path(folder, part)
    # Several processes add lines; one that a kill has cut short is no line.
    with (folder / SUMS).open("a") as out:
        out.write(f"{hashlib.sha256(data.getbuffer()).hexdigest()}  {path.name}\n")
        out.flush()
        os.fsync(out.fileno())
    write_whole(path, data.getvalue())


def read_sums(folder: Path) -> dict[str, str]:
    """The sha256 of the parts by file name, as they were written; an older version wrote none."""
    text = (folder / SUMS).read_text(encoding="ascii", errors="replace") if (folder / SUMS).is_file() else ""
    return {name: sha256 for sha256, name in re.findall(r"([0-9a-f]{64})  (part-[0-9]+\.npy)\n", text)}


def tidy_sums(folder: Path) -> None:
    """A line for each part, once no process writes parts any more."""
    if sums := read_sums(folder):
        write_whole(folder / SUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def changed(folder: Path, part: int, sums: Mapping[str, str]) -> bool:
    """Whether the part's bytes are not those that were written."""
    path = part_path(folder, part)
    return path.name in sums and sha256_of(path) != sums[path.name]


def read_part(folder: Path, part: int, manifest: Manifest) -> Shaped[np.ndarray, "n columns"] | None:
    """The rows of a part, mapped from disk; None if it is missing, short, or of another shape or type."""
    try:
        rows = open_array(part_path(folder, part))
    except ValueError:
        return None
    right = rows.shape == (manifest.rows_of(part), manifest.columns) and rows.dtype == STORED_TYPES[manifest.precision]
    return rows if right else None
