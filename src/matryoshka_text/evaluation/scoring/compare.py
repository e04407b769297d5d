"""Which differences between two columns of a table are real: paired bootstrap intervals of the rows' items."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.scoring.bootstrap import ROUNDS, bounds, gap, resampled
from matryoshka_text.evaluation.scoring.items import Items, items_path, read_items
from matryoshka_text.rows import Row, latest_rows

__all__ = ["Comparisons", "Place", "Resamples", "Weights"]

log = logging.getLogger(__name__)

# Points by which items and row may disagree: they are of one scoring, so this is only rounding.
_SAME = 1e-4

Place = tuple[str, str]  # task and split
Weights = Sequence[float] | None


@dataclass(frozen=True)
class _Drawn:
    items: Items
    scores: Float64[np.ndarray, " rounds"]


class Resamples:
    """The bootstrap's scores of rows, read from the items below `outs` when they are first asked for, then kept."""

    def __init__(self, *outs: Path, seed: int, rounds: int = ROUNDS) -> None:
        self.outs, self.seed, self.rounds = outs, seed, rounds
        self._kept: dict[tuple[object, ...], _Drawn | None] = {}

    def difference(self, ours: Sequence[Row], theirs: Sequence[Row]) -> tuple[float, float] | None:
        """95% bounds of the mean of our rows' scores minus the mean of theirs, in points; None: see `gaps`."""
        return self.mean_difference([(ours, theirs)])

    def mean_difference(
        self, pairs: Iterable[tuple[Sequence[Row], Sequence[Row]]], weights: Weights = None
    ) -> tuple[float, float] | None:
        """The same for the mean over tasks, given our rows and theirs on each; None if one of them has none.

        The tasks stay as they are: nothing is said about other tasks. Their items are drawn, each task's for itself but
        where two have the very same ones, and a method's draws, alike on every task. `weights`: of each task in the
        mean; None: all alike.
        """
        return _bounds([self.gaps(*pair) for pair in pairs], weights)

    def mean_score(self, rows: Iterable[Row], weights: Weights = None) -> tuple[float, float] | None:
        """95% bounds of the mean of the rows' scores, a row for each task; None if one of them has no items."""
        drawn = [self._of(row) for row in rows]
        return _bounds([None if one is None else one.scores for one in drawn], weights)

    def gaps(self, ours: Sequence[Row], theirs: Sequence[Row]) -> Float64[np.ndarray, " rounds"] | None:
        """The difference in each round of the bootstrap, in points; several rows on a side are a method's draws.

        None if a side has no rows, where a row has no items, and where rows were not scored on the same items.
        """
        # In one order on every task: the draws are drawn again by their number.
        sides = [sorted(side, key=lambda row: (row.weights, row.seed or 0)) for side in (ours, theirs)]
        left, right = ([self._of(row) for row in side] for side in sides)
        drawn = [one for one in (*left, *right) if one is not None]
        if not left or not right or len(drawn) < len(left) + len(right):
            return None
        if not all(one.items.pairs_with(drawn[0].items) for one in drawn):
            return None
        scores = [[one.scores for one in side if one is not None] for side in (left, right)]
        return gap(*scores, seed=self.seed)

    def _of(self, row: Row) -> _Drawn | None:
        key = (*row.key, row.score)
        if key not in self._kept:
            items = self._items(row)
            scores = None if items is None else resampled(items, seed=self.seed, rounds=self.rounds)
            self._kept[key] = None if items is None or scores is None else _Drawn(items, scores)
        return self._kept[key]

    def _items(self, row: Row) -> Items | None:
        """The items in the first folder that has those of this very scoring."""
        return next((found for out in self.outs if (found := _items(items_path(out, row), row)) is not None), None)


def _bounds(
    found: Sequence[Float64[np.ndarray, " rounds"] | None], weights: Weights = None
) -> tuple[float, float] | None:
    """Of the mean over tasks; None if one of them is not known."""
    known = [one for one in found if one is not None]
    if not known or len(known) < len(found):
        return None
    low, high = bounds(np.average(known, axis=0, weights=weights))
    return None if np.isnan(low) else (low, high)


def _items(path: Path, row: Row) -> Items | None:
    try:
        items = read_items(path)
    except DataError as error:
        log.warning("%s", error)
        return None
    if items is not None and abs(100 * items.score() - row.score) > _SAME:
        log.warning("%s: its items give %.4f, the row %.4f; not used", path, 100 * items.score(), row.score)
        return None
    return items


class Comparisons:
    """Paired intervals of a table's first column against each other one, drawn with the suite's seed."""

    def __init__(self, out: Path, plan: Plan, rows: Sequence[Row], *, rounds: int = ROUNDS) -> None:
        self._resamples = Resamples(out, seed=plan.suite.seed, rounds=rounds)
        self._holds: list[Callable[[Row], bool]] = [column.holds for column in plan.columns]
        self._rows: dict[tuple[str, str, int], list[Row]] = {}
        for row in latest_rows(rows):
            self._rows.setdefault((row.task, row.split, row.dim), []).append(row)

    def __call__(self, task: str, split: str, dim: int, column: int) -> tuple[float, float] | None:
        """95% bounds of the first column's score minus that of column number `column`, in points.

        Of a method that draws, the mean over its seeds is compared, and they are drawn again next to the items. None
        where a row or its items are missing, or where the rows were not scored on the same items.
        """
        return self.mean([(task, split)], dim, column)

    def mean(
        self, tasks: Iterable[tuple[str, str]], dim: int, column: int, weights: Weights = None
    ) -> tuple[float, float] | None:
        """The same for the mean over several tasks, given with their splits; None if one of them is not known."""
        pairs = [(self._of(*place, dim, 0), self._of(*place, dim, column)) for place in tasks]
        return self._resamples.mean_difference(pairs, weights)

    def score(
        self, tasks: Iterable[tuple[str, str]], dim: int, column: int, weights: Weights = None
    ) -> tuple[float, float] | None:
        """95% bounds of the column's mean score over those tasks; None if one is not known, or has several draws."""
        rows = [self._of(*place, dim, column) for place in tasks]
        alone = {len(one) for one in rows} == {1}
        return self._resamples.mean_score((one[0] for one in rows), weights) if alone else None

    def _of(self, task: str, split: str, dim: int, column: int) -> list[Row]:
        return [row for row in self._rows.get((task, split, dim), []) if self._holds[column](row)]
