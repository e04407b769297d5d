"""A rotation learned from vectors by source, judged on rows that it has not seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float32, Int64, Num
from torch import Tensor
from torch.nn.functional import normalize

from matryoshka_text.errors import DataError
from matryoshka_text.rotation.fit import Check, FitSettings, Step, fit_rotation
from matryoshka_text.rotation.kept import dims_to_look_at, neighbours_kept
from matryoshka_text.rotation.matrix import Rotation
from matryoshka_text.rotation.neighbours import repeated_rows

__all__ = ["Learned", "SourceKept", "Split", "kept_by_source", "learn", "learn_from", "mean_kept", "split_sources"]

Vectors = Num[np.ndarray, "rows width"]  # or anything that has a shape and a dtype and gives rows by their numbers

# Held-back rows of a source whose neighbours are counted: the error of the mean share is about half a point.
_MOST_ASKED = 1000


@dataclass(frozen=True)
class SourceKept:
    """By dim, the share (0 to 1) of held-back rows' 10 nearest neighbours at full width that the prefix keeps.

    `asked`: how many held-back rows that is the mean of. Neighbours are looked for among the `rows` of the source.
    """

    source: str
    rows: int
    asked: int
    before: dict[int, float]
    after: dict[int, float]


@dataclass(frozen=True)
class Learned:
    """A rotation, and what it does to each source's held-back rows; `checks` as they were made, the best was kept."""

    rotation: Rotation
    kept: tuple[SourceKept, ...]
    checks: tuple[Check, ...]

    def mean(self, *, after: bool) -> dict[int, float]:
        """By dim, the mean over sources of the share kept, before or after."""
        return mean_kept(self.kept, after=after)


def mean_kept(kept: Sequence[SourceKept], *, after: bool) -> dict[int, float]:
    """By dim, the mean over sources of the share kept, before or after."""
    each = [one.after if after else one.before for one in kept]
    return {dim: fmean(one[dim] for one in each) for dim in each[0]} if each else {}


@dataclass(frozen=True)
class Split:
    """A source's rows that are learned from, and those that are held back, as float32 tensors."""

    learned: Tensor
    held_back: Tensor


def learn(
    vectors: Mapping[str, Vectors],
    dims: Sequence[int],
    settings: FitSettings | None = None,
    *,
    most: int = 20_000,
    held_back: float = 0.1,
    on_step: Callable[[Step], object] = lambda step: None,
    on_check: Callable[[Check], object] = lambda check: None,
) -> Learned:
    """The rotation of `vectors` (by source: each of one kind of text), learned by `fit_rotation`.

    Of each source at most `most` rows are read, drawn by the seed; arrays may be mapped from disk. The share
    `held_back` of them is not learned from: it tells which step was the best, and what the rotation keeps. `DataError`
    for rows that hold NaN and for sources that are too small.
    """
    settings = settings or FitSettings()
    parts = split_sources(vectors, most=most, held_back=held_back, seed=settings.seed)
    return learn_from(parts, dims, settings, on_step=on_step, on_check=on_check)


def learn_from(
    parts: Mapping[str, Split],
    dims: Sequence[int],
    settings: FitSettings,
    *,
    on_step: Callable[[Step], object] = lambda step: None,
    on_check: Callable[[Check], object] = lambda check: None,
) -> Learned:
    """`learn`, from rows that have been read and divided."""
    checks: list[Check] = []

    def note(check: Check) -> None:
        checks.append(check)
        on_check(check)

    held_back = [part.held_back for part in parts.values()]
    try:
        matrix = fit_rotation(
            [part.learned for part in parts.values()],
            dims,
            settings,
            held_back_by_source=held_back if any(map(len, held_back)) else None,
            on_step=on_step,
            on_check=note,
        )
    except ValueError as error:
        names = ", ".join(f"{place} is {name}" for place, name in enumerate(parts))
        raise DataError(f"the rotation cannot be learned: {error} (sources in order: {names})") from error
    rows = {name: len(part.learned) + len(part.held_back) for name, part in parts.items()}
    rotation = Rotation(matrix.numpy(), dims, {"fit": asdict(settings), "rows": rows})
    kept = kept_by_source(parts, dims_to_look_at(dims, rotation.width), rotation)
    return Learned(rotation, kept, tuple(checks))


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


def kept_by_source(
    parts: Mapping[str, Split], dims: Sequence[int], rotation: Rotation | None = None
) -> tuple[SourceKept, ...]:
    """What prefixes keep of held-back rows' neighbours, before and after `rotation` (None: before, twice)."""
    matrix = None if rotation is None else torch.from_numpy(rotation.matrix).float()
    found = []
    for name, part in parts.items():
        asked = torch.arange(min(len(part.held_back), _MOST_ASKED))
        if not len(asked):
            continue
        together = torch.cat([part.held_back, part.learned])
        before = neighbours_kept(together, dims, asked=asked)
        after = before if matrix is None else neighbours_kept(together, dims, asked=asked, rotation=matrix)
        found.append(SourceKept(name, len(together), len(asked), before, after))
    return tuple(found)


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
