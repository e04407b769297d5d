"""The scores of a folder of committed rows, column by column: of single tasks, and means over several."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from matryoshka_text.evaluation.pages.records import Baselines, Compared
from matryoshka_text.rows import Row, latest_rows

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
    """What one table shows: a task (`places` of length 1), or the mean over several. Titles are unique."""

    title: str
    note: str
    places: tuple[Place, ...]


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

    def means(self) -> list[Sheet]:
        """The mean over all tasks, and over those of each type of which there are several."""
        shared = [place for place in self._about if self._everywhere(place)]
        alone = sorted(task for task, split in self._about if (task, split) not in shared)
        without = f"; without {', '.join(alone)}, which not every column has" if alone else ""
        found = [Sheet(f"All {len(shared)} tasks", f"mean over all types{without}", tuple(shared))]
        for kind in dict.fromkeys(row.type for row in self._about.values()):
            places = tuple(place for place in shared if self._about[place].type == kind)
            tasks = ", ".join(title for title in map(_title, places))
            found.append(Sheet(f"{kind}, {len(places)} tasks", f"mean over {tasks}", places))
        return [sheet for sheet in found if len(sheet.places) > 1]

    def tasks(self) -> list[Sheet]:
        """A sheet for each task and split, those of a type together."""
        kinds = list(dict.fromkeys(row.type for row in self._about.values()))
        places = sorted(self._about, key=lambda place: kinds.index(self._about[place].type))
        return [
            Sheet(_title(place), f"{self._about[place].type}, {self._about[place].metric} x 100", (place,))
            for place in places
        ]

    def rows(self, column: Compared, place: Place, dim: int) -> list[Row]:
        """The column's rows, one for each seed; [] where there is none."""
        rows = self._rows.get((column.label, place, dim), [])
        # A later row of the same model and seed, of other data or settings, takes the place of an earlier.
        return list({(row.weights, row.seed): row for row in sorted(rows, key=lambda row: row.date)}.values())

    def score(self, column: Compared, sheet: Sheet, dim: int) -> Score | None:
        """The column's score; None where a task of the sheet has none at that dim."""
        each = [self.rows(column, place, dim) for place in sheet.places]
        if not each or not all(each):
            return None
        mean = fmean(fmean(row.score for row in rows) for rows in each)
        seeds = [fmean(row.score for row in one) for one in _by_seed(each)]
        if max(map(len, each)) == 1:
            return Score(mean, interval=each[0][0].interval if len(each) == 1 else None)
        return Score(mean, spread=max(seeds) - min(seeds) if len(seeds) > 1 else None)

    def difference(self, column: Compared, sheet: Sheet, dim: int) -> float | None:
        """Points the column is above the first one at the same dim."""
        ours, reference = self.score(column, sheet, dim), self.score(self.columns[0], sheet, dim)
        return None if ours is None or reference is None else ours.mean - reference.mean

    def _everywhere(self, place: Place) -> bool:
        return all(any(self.rows(column, place, dim) for dim in self.dims) for column in self.columns)


def _title(place: Place) -> str:
    task, split = place
    return task if split == "test" else f"{task} ({split})"


def _by_seed(each: Sequence[Sequence[Row]]) -> Iterator[list[Row]]:
    """For each model and seed that every task has, its row on each."""
    by_task = [{(row.weights, row.seed): row for row in rows} for rows in each]
    for seed in by_task[0]:
        if all(seed in rows for rows in by_task):
            yield [rows[seed] for rows in by_task]
