"""Vectors by source: read, divided into rows that are learned from and rows held back, and fitted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, Num
from torch import Tensor
from torch.nn.functional import normalize

from matryoshka_text.errors import DataError
from matryoshka_text.rotation.fit import Check, FitSettings, Step, fit_rotation
from matryoshka_text.rotation.neighbours import repeated_rows

__all__ = ["Split", "Vectors", "fit_sources", "split_sources"]

Vectors = Num[np.ndarray, "rows width"]  # or anything that has a shape and a dtype and gives rows by their numbers


@dataclass(frozen=True)
class Split:
    """A source's rows that are learned from, and those that are held back, as float32 tensors."""

    learned: Tensor
    held_back: Tensor


def split_sources(vectors: Mapping[str, Vectors], *, most: int, held_back: float, seed: int) -> dict[str, Split]:
    """At most `most` rows of each source, drawn by the seed, the share `held_back` of them apart.

    Of these, rows that repeat one that is learned from are left out.
    """
    if not 0 <= held_back <= 1:
        raise DataError(f"held_back: found {held_back}; allowed: a share from 0 to 1")
    _require_vectors(vectors)
    found = {}
    for place, (name, rows) in enumerate(vectors.items()):
        chosen = np.random.default_rng([seed, place]).permutation(len(rows))[:most]
        read = _read(name, rows, chosen)
        back = int(held_back * len(chosen))
        held, learned = read[:back], read[back:]
        # What was learned from is not held back; it would make every check look better than it is.
        found[name] = Split(learned, held[~repeated_rows(normalize(held, dim=1), normalize(learned, dim=1))])
    return found


def fit_sources(
    parts: Mapping[str, Split],
    dims: Sequence[int],
    settings: FitSettings,
    *,
    on_step: Callable[[Step], object] = lambda step: None,
    on_check: Callable[[Check], object] = lambda check: None,
) -> tuple[Float64[np.ndarray, "width width"], dict[str, object]]:
    """`fit_rotation` over sources by name: the matrix, and a record of the settings and of the rows of each source.

    `DataError` if it cannot be fitted.
    """
    held_back = [part.held_back for part in parts.values()]
    try:
        matrix = fit_rotation(
            [part.learned for part in parts.values()],
            dims,
            settings,
            held_back_by_source=held_back if any(map(len, held_back)) else None,
            on_step=on_step,
            on_check=on_check,
        )
    except ValueError as error:
        names = ", ".join(f"{place} is {name}" for place, name in enumerate(parts))
        raise DataError(f"the rotation cannot be learned: {error} (sources in order: {names})") from error
    rows = {name: len(part.learned) + len(part.held_back) for name, part in parts.items()}
    return matrix.numpy(), {"fit": asdict(settings), "rows": rows}


def _require_vectors(vectors: Mapping[str, Vectors]) -> None:
    """`DataError` unless all of them are rows of floating-point numbers, of one width."""
    if not vectors:
        raise DataError("no vectors are given; allowed: at least one source")
    for name, rows in vectors.items():
        if len(rows.shape) != 2 or not np.issubdtype(rows.dtype, np.floating) or 0 in rows.shape:
            raise DataError(
                f"{name}: found an array of shape {list(rows.shape)} of {rows.dtype}; allowed: [rows, width] of "
                "floating-point numbers; give the vectors as the model made them"
            )
    widths = {name: rows.shape[1] for name, rows in vectors.items()}
    if len(set(widths.values())) > 1:
        shown = ", ".join(f"{name}: {width}" for name, width in widths.items())
        raise DataError(f"the sources have vectors of different widths ({shown}); allowed: one width, of one model")


def _read(name: str, rows: Vectors, chosen: Int64[np.ndarray, " n"]) -> Float32[Tensor, "n width"]:
    """The chosen rows; `DataError` naming those that have no direction."""
    # Read in order of place, so that a mapped file is read once from start to end; then as drawn, since the first of
    # the held-back rows are those that are asked.
    order = np.argsort(chosen)
    found = np.empty((len(chosen), rows.shape[1]), dtype=np.float64)
    found[order] = rows[chosen[order]]
    for wrong, what in ((~np.isfinite(found).all(axis=1), "NaN or infinity"), (~found.any(axis=1), "only zeros")):
        if len(bad := chosen[wrong]):
            bad.sort()
            shown = ", ".join(map(str, bad[:5].tolist())) + (", …" if len(bad) > 5 else "")
            raise DataError(
                f"{name}: found {what} in {len(bad)} of the {len(found):,} rows read, rows {shown} (from 0); "
                "allowed: finite numbers that are not all 0; make these vectors again, or leave the rows out"
            )
    # Only directions count, and float32 holds them whatever the scale was.
    found /= np.abs(found).max(axis=1, keepdims=True, initial=0)
    return torch.from_numpy(found.astype(np.float32))
