"""The scores of a folder of committed rows, column by column: of single tasks, and means over several."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from matryoshka_text.evaluation.report.tables import kind_weights
from matryoshka_text.rows import Row, latest_rows
from tools.pages.records import Baselines, Compared

__all__ = ["Board", "Place", "Score", "Sheet"]

Place = tuple[str, str]  # task and split


@dataclass(frozen=True)
class Score:
    """Points: of a single row `interval` is its own, of several (seeds) `spread` is the largest less the smallest."""

    mean: float
    spread: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Sheet:
    """What one table shows: a task (`places` of length 1), or the mean over several. Titles are unique.

    `weights`: what each place counts in a mean over kinds; None: all alike.
    """

    title: str
    note: str
    metric: str
    places: tuple[Place, ...]
    type: str = ""
    weights: tuple[float, ...] | None = None


class Board:
    """Rows by column, task and dim."""

    def __init__(self, baselines: Baselines, rows: Sequence[Row]) -> None:
        self.columns = baselines.columns
        self._rows: dict[tuple[str, Place, int], list[Row]] = {}
        self._about: dict[Place, Row] = {}
        for row in latest_rows(rows):
            for column in (one for one in self.columns if one.holds(row)):
                place = (row.task, row.split)
                self._rows.setdefault((column.label, place, row.dim), []).append(row)
                self._about.setdefault(place, row)
        self.dims = sorted({dim for _, _, dim in self._rows})
        self.types = list(dict.fromkeys(row.type for row in self._about.values()))

    @property
    def width(self) -> int:
        """The full width of the first column's vectors; 0 where it has no rows."""
        own = (row for (label, _, _), rows in self._rows.items() if label == self.columns[0].label for row in rows)
        return max((row.width for row in own), default=0)

    def sheets(self) -> list[Sheet]:
        """Every table: the means, then the tasks."""
        return [*self.means(), *self.tasks()]

    def means(self) -> list[Sheet]:
        """The means over all tasks, then over those of each type of which there are several; [] of a single task."""
        types = [sheet for sheet in self.of_types() if len(sheet.places) > 1]
        return [*whole, *types] if (whole := self.overall()) else []

    def overall(self) -> list[Sheet]:
        """The mean over tasks and, where that is another number, the mean over kinds; [] of a single task."""
        shared = self._shared()
        if len(shared) < 2:
            return []
        alone = sorted(task for task, split in self._about if (task, split) not in shared)
        without = f"; without {', '.join(alone)}, which not every column has" if alone else ""
        lacking = [one.label for one in self.columns if not all(self._has(one, place) for place in shared)]
        without += f"; none of {', '.join(lacking)}, which not every task can have" if lacking else ""
        note = f"mean of the tasks' main scores x 100, each task counting once{without}"
        kinds = self.over_kinds()
        tasks = Sheet(f"All {len(shared)} tasks", note, "the mean of their main scores", shared)
        return [tasks, *([kinds] if kinds is not None and kinds.weights is not None else [])]

    def over_kinds(self, also: Sequence[Compared] = ()) -> Sheet | None:
        """The mean over task types of the mean over each type's tasks, so that no kind decides by its number of tasks.

        Over the tasks that every column has, those fitted on the corpus not counted but for `also`; None of one type.
        """
        shared = self._shared(also)
        counts = Counter(self._about[place].type for place in shared)
        if len(counts) < 2:
            return None
        note = f"mean over {len(counts)} kinds of task ({', '.join(counts)}) of the mean over the tasks of each"
        weights = kind_weights([self._about[place].type for place in shared])
        metric = "the mean of their main scores"
        title = f"Mean over {len(counts)} kinds, {len(shared)} tasks"
        return Sheet(title, note, metric, shared, weights=weights)

    def of_types(self) -> list[Sheet]:
        """A sheet for each type: the mean, or of one task its own; [] if all tasks are of one type."""
        shared = self._shared()
        of = {kind: [place for place in shared if self._about[place].type == kind] for kind in self.types}
        return [self._of_type(kind, places) for kind, places in of.items() if places] if len(of) > 1 else []

    def tasks(self) -> list[Sheet]:
        """A sheet for each task and split, those of a type together."""
        return [
            self._of_task(place)
            for place in sorted(self._about, key=lambda place: self.types.index(self._about[place].type))
        ]

    def rows(self, column: Compared, place: Place, dim: int) -> list[Row]:
        """The column's rows, one for each seed; [] if there is none."""
        rows = self._rows.get((column.label, place, dim), [])
        # A later row of the same model, seed and rotation, of other data or settings, takes the place of an earlier.
        return list({_drawn(row): row for row in sorted(rows, key=lambda row: row.date)}.values())

    def score(self, column: Compared, sheet: Sheet, dim: int) -> Score | None:
        """The column's score; None if a task of the sheet has none at that dim."""
        each = [self.rows(column, place, dim) for place in sheet.places]
        if not each or not all(each):
            return None
        mean = fmean((fmean(row.score for row in rows) for rows in each), sheet.weights)
        seeds = [fmean((row.score for row in one), sheet.weights) for one in _by_seed(each)]
        if max(map(len, each)) == 1:
            return Score(mean, interval=each[0][0].interval if len(each) == 1 else None)
        return Score(mean, spread=max(seeds) - min(seeds) if len(seeds) > 1 else None)

    def difference(self, column: Compared, sheet: Sheet, dim: int) -> float | None:
        """Points the column is above the first one at the same dim."""
        ours, reference = self.score(column, sheet, dim), self.score(self.columns[0], sheet, dim)
        return None if ours is None or reference is None else ours.mean - reference.mean

    def seeds(self, column: Compared, sheet: Sheet) -> int:
        """How many rows each score of the column is the mean of; where that differs, the fewest."""
        scored = [dim for dim in self.dims if self.score(column, sheet, dim) is not None]
        counts = (len(self.rows(column, place, dim)) for place in sheet.places for dim in scored)
        return min(counts, default=0)

    def _shared(self, also: Sequence[Compared] = ()) -> tuple[Place, ...]:
        """The tasks that every column has: means over different tasks cannot be compared.

        A column fitted on the corpus takes none away, unless it is in `also`: not every kind of task has a corpus.
        """
        asked = [column for column in self.columns if not column.fitted_on_corpus or column in also]
        return tuple(place for place in self._about if all(self._has(column, place) for column in asked))

    def _has(self, column: Compared, place: Place) -> bool:
        return any((column.label, place, dim) in self._rows for dim in self.dims)

    def _of_type(self, kind: str, places: Sequence[Place]) -> Sheet:
        if len(places) == 1:
            return self._of_task(places[0])
        metrics = ", ".join(dict.fromkeys(self._about[place].metric for place in places))
        note = f"mean of {', '.join(map(_title, places))} ({metrics} x 100)"
        return Sheet(f"{kind}, {len(places)} tasks", note, metric=metrics, places=tuple(places), type=kind)

    def _of_task(self, place: Place) -> Sheet:
        about = self._about[place]
        return Sheet(
            _title(place), f"{about.type}, {about.metric} x 100", metric=about.metric, places=(place,), type=about.type
        )


def _title(place: Place) -> str:
    task, split = place
    return task if split == "test" else f"{task} ({split})"


def _drawn(row: Row) -> tuple[str, int | None, str | None]:
    """What tells one seed's rows from another's: the trained model, the draw, or the rotation learned."""
    return row.weights, row.seed, row.rotation


def _by_seed(each: Sequence[Sequence[Row]]) -> Iterator[list[Row]]:
    """For each model and seed that every task has, its row on each."""
    by_task = [{_drawn(row): row for row in rows} for rows in each]
    for seed in by_task[0]:
        if all(seed in rows for rows in by_task):
            yield [rows[seed] for rows in by_task]
