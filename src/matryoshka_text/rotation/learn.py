"""A rotation learned from vectors by source, judged on rows that it has not seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from matryoshka_text.rotation.fit import Check, FitSettings, Step
from matryoshka_text.rotation.kept import dims_to_look_at, neighbours_kept
from matryoshka_text.rotation.matrix import Rotation
from matryoshka_text.rotation.sources import Split, Vectors, fit_sources, split_sources

__all__ = ["Learned", "SourceKept", "kept_by_source", "learn", "learn_from", "mean_kept"]

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

    matrix, record = fit_sources(parts, dims, settings, on_step=on_step, on_check=note)
    rotation = Rotation(matrix, dims, record)
    kept = kept_by_source(parts, dims_to_look_at(dims, rotation.width), rotation)
    return Learned(rotation, kept, tuple(checks))


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
        found.append(SourceKept(source=name, rows=len(together), asked=len(asked), before=before, after=after))
    return tuple(found)
