"""A table of scores: columns by dims, with what is known of differences; no rows, no words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from matryoshka_text.evaluation.scoring.compare import Comparisons, Place, Weights
from matryoshka_text.evaluation.tasks.planned import CORPUS_TYPES
from matryoshka_text.rows import Precision
from matryoshka_text.vectors.views import bytes_per_vector

__all__ = ["KEPT", "Cell", "Gap", "Interval", "Table", "bands_of", "intervals_of"]

KEPT = (99, 95, 90)
_MOST_BANDS = 3

Interval = tuple[float, float]


@dataclass(frozen=True)
class Cell:
    """The scores of one column at one dim: one, or one for each draw of a method that draws.

    `interval`: the 95% bootstrap interval of the score, in points; None if it is not known.
    """

    draws: tuple[float, ...]
    interval: Interval | None = None

    @property
    def score(self) -> float:
        """The score, of several draws their mean."""
        return fmean(self.draws)

    @property
    def spread(self) -> float | None:
        """The largest draw - the smallest; None of one draw."""
        return max(self.draws) - min(self.draws) if len(self.draws) > 1 else None

    @property
    def band(self) -> Interval | None:
        """What a curve shows around the score: its interval, or the lowest and the highest draw."""
        drawn = (min(self.draws), max(self.draws)) if len(self.draws) > 1 else None
        return self.interval or drawn


@dataclass(frozen=True)
class Gap:
    """Points the model is above another column, with the 95% interval of the paired difference where it is known."""

    points: float
    interval: Interval | None = None

    @property
    def real(self) -> bool:
        """Whether the interval is known and does not hold 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Table:
    """Numbers by column and dim; `cells[i]` belongs to column `labels[i]`; dims without a number are left out.

    `main`: scores x 100, more is better; otherwise a further metric, of which no share makes sense (perplexity).
    `task`: "" for a mean; `type` is mteb's task type. `trained`: the dims the model was trained at, where it says so.
    `places`: the tasks and splits it is of. `intervals`: by dim and column, the 95% interval of the difference to that
    column; `compare` gives those of means over this table and others. `weights`: what each place counts in a mean over
    kinds; None: all alike. `corpus`: the columns that are fitted on each task's own documents.
    """

    title: str
    note: str
    labels: tuple[str, ...]
    widths: tuple[int, ...]
    cells: tuple[dict[int, Cell], ...]
    main: bool = True
    task: str = ""
    type: str = ""
    precisions: tuple[Precision, ...] = ()
    trained: tuple[int, ...] | None = None
    intervals: Mapping[tuple[int, int], Interval] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    weights: tuple[float, ...] | None = None
    corpus: frozenset[int] = frozenset()
    compare: Comparisons | None = field(default=None, compare=False, repr=False)

    @cached_property
    def scores(self) -> tuple[dict[int, float], ...]:
        """Only the numbers."""
        return tuple({dim: cell.score for dim, cell in own.items()} for own in self.cells)

    @property
    def dims(self) -> list[int]:
        """Every dim at which the model, or one of the others, was scored."""
        return sorted({dim for own in self.cells for dim in own})

    def share(self, dim: int) -> float | None:
        """The model's score at `dim`, in % of its full width's; None if one is missing or that is not positive."""
        full, score = self.scores[0].get(self.widths[0]), self.scores[0].get(dim)
        return None if score is None or full is None or full <= 0 else 100 * score / full

    def kept(self, percent: float) -> int | None:
        """The smallest scored dim from which on the share of the full width's score is at least `percent`: every larger
        scored dim has it too.
        """
        smallest = None
        for dim in sorted(self.scores[0], reverse=True):
            share = self.share(dim)
            if share is None or share < percent:
                break
            smallest = dim
        return smallest

    def difference(self, dim: int, other: int) -> float | None:
        """Points the model is above column number `other` at the same dim."""
        ours, theirs = self.scores[0].get(dim), self.scores[other].get(dim)
        return None if ours is None or theirs is None else ours - theirs

    def gap(self, dim: int, other: int) -> Gap | None:
        """The same difference, with its interval."""
        points = self.difference(dim, other)
        return None if points is None else Gap(points, self.intervals.get((dim, other)))

    def interpolated(self, dim: int) -> bool:
        """Whether the model says at which dims it was trained, and this prefix is none of them."""
        return self.trained is not None and dim < self.widths[0] and dim not in self.trained

    @property
    def has_corpus(self) -> bool:
        """Whether it is of a task with documents that a rotation can be fitted on."""
        return self.type in CORPUS_TYPES

    @property
    def size_head(self) -> str:
        """What stands above `bytes_of` the model: its precision too, where columns of others stand next to it."""
        return "bytes a vector" if set(self.precisions) <= {"float32"} else "bytes in float32"

    def bytes_of(self, dim: int, column: int = 0) -> int:
        """What one vector of that column takes in memory."""
        return bytes_per_vector(dim, self.precisions[column] if self.precisions else "float32")


def bands_of(table: Table) -> set[int]:
    """The columns whose bands a curve can show: all, or, where more than three lie over one another, the model's."""
    found = {number for number, own in enumerate(table.cells) if any(cell.band for cell in own.values())}
    return found if len(found) <= _MOST_BANDS else found & {0}


def intervals_of(
    cells: Sequence[Mapping[int, Cell]], compare: Comparisons | None, places: Sequence[Place], weights: Weights = None
) -> dict[tuple[int, int], Interval]:
    """By dim and column, the 95% interval of the first column's mean over the places minus that column's."""
    if compare is None:
        return {}
    pairs = [(dim, other) for other in range(1, len(cells)) for dim in cells[0] if dim in cells[other]]
    known = {(dim, other): compare.mean(places, dim, other, weights) for dim, other in pairs}
    return {pair: interval for pair, interval in known.items() if interval is not None}
