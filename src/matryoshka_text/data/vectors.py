"""A teacher's vectors of a source's texts, computed beforehand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open

from matryoshka_text.errors import DataError

__all__ = ["read_vectors"]

# I8: a row divided by its largest entry and multiplied by 127, which keeps its direction, all that a teacher gives.
_DTYPES = ("F32", "F16", "BF16", "I8")


def read_vectors(
    path: Path, names: Sequence[str], *, rows: int, key: str
) -> tuple[Float[np.ndarray, "rows width"], ...]:
    """The tensors `names` of the safetensors file `path` as float32 arrays of `rows` rows and one width.

    `DataError` if the file, a tensor, its shape, its numbers' type, or one of its rows (not finite, or all zeros,
    which has no direction) cannot be used. `key` names the recipe's key, for messages.
    """
    if not path.is_file():
        raise DataError(
            f"{key}: found no file {path}; allowed: an existing .safetensors file (relative to the recipe's folder); "
            "write the teacher's vectors there, or remove the key"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            _require_names(path, sorted(file.keys()), names)
            shapes = {name: (file.get_slice(name).get_dtype(), file.get_slice(name).get_shape()) for name in names}
            _require_shapes(path, shapes, rows)
            found = tuple(_array(file, path, name, shapes[name][0]) for name in names)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: is no safetensors file ({error}); allowed: a whole file; write it again") from error
    for name, array in zip(names, found, strict=True):
        _require_directions(path, name, array)
    return found


def _array(file: Any, path: Path, name: str, dtype: str) -> Float[np.ndarray, "rows width"]:
    if dtype != "BF16":
        return np.asarray(file.get_tensor(name), dtype=np.float32)
    # numpy has no bfloat16, so torch reads those.
    import torch

    with safe_open(path, framework="pt") as opened:
        return np.asarray(opened.get_tensor(name).to(torch.float32).numpy())


def _require_names(path: Path, found: Sequence[str], names: Sequence[str]) -> None:
    if set(found) != set(names):
        raise DataError(
            f"{path}: found the tensors {', '.join(found) or 'none'}; allowed: {', '.join(names)}, one for each column "
            "of texts; rename, add or leave out tensors"
        )


def _require_shapes(path: Path, shapes: dict[str, tuple[str, list[int]]], rows: int) -> None:
    width: int | None = None
    for name, (dtype, shape) in shapes.items():
        where = f"{path}: tensor {name!r}"
        if dtype not in _DTYPES:
            raise DataError(
                f"{where}: found numbers of type {dtype}; allowed: {', '.join(_DTYPES)}; save it as float32"
            )
        if len(shape) != 2 or shape[0] != rows or not shape[1]:
            raise DataError(
                f"{where}: found shape {shape}; allowed: [{rows}, width], a row for each of the {rows} examples in "
                "their file's order, before a sample is drawn; compute the vectors of this data again"
            )
        width = width or shape[1]
        if shape[1] != width:
            raise DataError(
                f"{where}: found vectors of width {shape[1]}; allowed: {width}, as of the first tensor; "
                "use one teacher for all"
            )


def _require_directions(path: Path, name: str, array: Float[np.ndarray, "rows width"]) -> None:
    finite = np.isfinite(array).all(axis=1)
    good = finite & array.any(axis=1)
    if good.all():
        return
    row = int(np.argmin(good))
    what = "all zeros" if finite[row] else "numbers that are not finite"
    raise DataError(
        f"{path}: tensor {name!r}, row {row} (from 0): found {what}; allowed: a finite vector with a direction; "
        "compute it again"
    )
