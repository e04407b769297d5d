"""Rows to tables: one per task, means over task types, and the mean over all tasks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from statistics import fmean
from typing import Protocol

from matryoshka_text.evaluation.plan import Column, Plan, PlannedTask, PlannedText
from matryoshka_text.evaluation.vectors.view import bytes_per_vector
from matryoshka_text.rows import Precision, Row

__all__ = ["KEPT", "Cell", "Compare", "Gap", "Table", "bands_of", "tables", "type_means"]

MEAN = "Mean"
PERPLEXITY = "perplexity"
KEPT = (99, 95, 90)
_MOST_BANDS = 3

Interval = tuple[float, float]
Place = tuple[str, str]  # task and split


class Compare(Protocol):
    """95% intervals over the items of one or several tasks, by dim and column; None where they are not known."""

    def mean(self, tasks: Iterable[Place], dim: int, column: int, /) -> Interval | None:
        """Of the first column's mean score minus that of the column."""
        ...

    def score(self, tasks: Iterable[Place], dim: int, column: int, /) -> Interval | None:
        """Of the column's mean score."""
        ...


@dataclass(frozen=True)
class Cell:
    """The scores of one column at one dim: one, or one for each draw of a method that draws.

    `interval`: the 95% bootstrap interval of the score, in points; None where it is not known.
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
    column; `compare` gives those of means over this table and others.
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
    compare: Compare | None = field(default=None, compare=False, repr=False)

    @cached_property
    def scores(self) -> tuple[dict[int, float], ...]:
        """The numbers alone."""
        return tuple({dim: cell.score for dim, cell in own.items()} for own in self.cells)

    @property
    def dims(self) -> list[int]:
        """Every dim at which the model, or one of the others, was scored."""
        return sorted({dim for own in self.cells for dim in own})

    def share(self, dim: int) -> float | None:
        """The model's score at `dim`, in % of its full width's; None where one is missing or that is not positive."""
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
    def size_head(self) -> str:
        """What stands above `bytes_of` the model: its precision too, where columns of others stand beside it."""
        return "bytes a vector" if set(self.precisions) <= {"float32"} else "bytes in float32"

    def bytes_of(self, dim: int, column: int = 0) -> int:
        """What one vector of that column takes in memory."""
        return bytes_per_vector(dim, self.precisions[column] if self.precisions else "float32")


def tables(plan: Plan, rows: Sequence[Row], compare: Compare | None = None) -> list[Table]:
    """A table for each task and split that was scored, in the suite's order, and the mean where there are several.

    A task with a further metric has a second table right after its own. `compare`: None leaves all intervals out but
    those that rows have.
    """
    # A task may be named with one of its splits and without: each split occurs once.
    wanted: dict[Place, PlannedTask | PlannedText] = {}
    for task in plan.tasks:
        wanted.update({place: task for place in _places(task) if place not in wanted})
    found = []
    for (name, split), task in wanted.items():
        chosen = [row for row in rows if (row.task, row.split) == (name, split)]
        found += _of_task(plan, task, split, chosen, compare) if chosen else []
    main = [table for table in found if table.main]
    return [*found, _mean(MEAN, main)] if len(main) > 1 else found


def bands_of(table: Table) -> set[int]:
    """The columns whose bands a curve can show: all, or, where more than three lie over one another, the model's."""
    found = {number for number, own in enumerate(table.cells) if any(cell.band for cell in own.values())}
    return found if len(found) <= _MOST_BANDS else found & {0}


def type_means(found: Sequence[Table]) -> list[Table]:
    """The mean over each task type's tasks, in the order of the types; [] where all tasks are of one type."""
    tasks = [table for table in found if table.main and table.task]
    types = dict.fromkeys(table.type for table in tasks)
    if len(types) < 2:
        return []
    return [_mean(one, [table for table in tasks if table.type == one]) for one in types]


@cache
def _places(task: PlannedTask | PlannedText) -> tuple[Place, ...]:
    """The splits that are scored; without one given those that mteb scores, which are not all that the data have."""
    if isinstance(task, PlannedTask) and task.split is None:
        return tuple((task.name, split) for split in task.make().eval_splits)
    return ((task.name, str(task.split)),)


def _of_task(
    plan: Plan, task: PlannedTask | PlannedText, split: str, rows: list[Row], compare: Compare | None
) -> list[Table]:
    title = task.name if split == "test" else f"{task.name} ({split})"
    columns = plan.columns
    rows_of = [[row for row in rows if column.holds(row)] for column in columns]
    labels = tuple(column.label for column in columns)
    widths = tuple(
        max((row.width for row in own), default=column.members[0].width)
        for own, column in zip(rows_of, columns, strict=True)
    )
    common = (tuple(column.precision for column in columns), plan.subjects[0].dims)
    cells = tuple(_cells(own, lambda row: row.score, intervals=True) for own in rows_of)
    note = task.about(split) + _tokens(labels, rows_of) + _bounds(columns, widths)
    places = ((task.name, split),)
    gaps = _intervals(cells, compare, places)
    found = [Table(title, note, labels, widths, cells, True, task.name, task.type, *common, gaps, places, compare)]
    if any(PERPLEXITY in row.further for row in rows):
        cells = tuple(_cells(own, lambda row: row.further.get(PERPLEXITY)) for own in rows_of)
        note = f"{PERPLEXITY}, less is better"
        title = f"{title}, {PERPLEXITY}"
        found.append(Table(title, note, labels, widths, cells, False, task.name, task.type, *common))
    return found


def _cells(rows: Sequence[Row], number: Callable[[Row], float | None], *, intervals: bool = False) -> dict[int, Cell]:
    """By dim the numbers of every seed; of rows that say the same thing twice the later one counts."""
    latest = {(row.dim, row.seed): row for row in rows}
    found: dict[int, Cell] = {}
    for dim in dict.fromkeys(dim for dim, _ in latest):
        own = [row for row in latest.values() if row.dim == dim]
        draws = tuple(x for row in own if (x := number(row)) is not None)
        if draws:
            found[dim] = Cell(draws, own[0].interval if intervals and len(own) == 1 else None)
    return found


def _intervals(
    cells: Sequence[Mapping[int, Cell]], compare: Compare | None, places: Sequence[Place]
) -> dict[tuple[int, int], Interval]:
    if compare is None:
        return {}
    pairs = [(dim, other) for other in range(1, len(cells)) for dim in cells[0] if dim in cells[other]]
    known = {(dim, other): compare.mean(places, dim, other) for dim, other in pairs}
    return {pair: interval for pair, interval in known.items() if interval is not None}


def _tokens(labels: Sequence[str], rows_of: Sequence[Sequence[Row]]) -> str:
    """How many masked tokens were counted; other models can have other tokenizers, whose scores do not compare."""
    counts = {label: rows[-1].further.get("masked_tokens") for label, rows in zip(labels, rows_of, strict=True) if rows}
    known = {label: f"{count:,.0f}" for label, count in counts.items() if count is not None}
    if not known:
        return ""
    first = next(iter(known.values()))
    others = ", ".join(f"{label} {count}" for label, count in known.items() if count != first)
    return f": {first} tokens" + (f" (by another tokenizer: {others})" if others else "")


def _bounds(columns: Sequence[Column], widths: Sequence[int]) -> str:
    """Which models have a vocabulary matrix that ends before their vectors do."""
    pairs = zip(columns, widths, strict=True)
    return "".join(f"; {one.label} up to {width} dims" for one, width in pairs if width < one.members[0].width)


def _mean(title: str, found: Sequence[Table]) -> Table:
    """The mean over the tasks that every column has: means over different tasks cannot be compared.

    A column without any score (a model that could not be opened) takes no task away from the others.
    """
    alive = [any(own) for own in zip(*(table.cells for table in found), strict=True)]
    whole = [table for table in found if all(own for own, lives in zip(table.cells, alive, strict=True) if lives)]
    first = found[0]
    places = tuple(place for table in whole for place in table.places)
    cells = tuple(
        {
            dim: _mean_cell([table.cells[number][dim] for table in whole], first.compare, places, dim, number)
            for dim in (whole[0].dims if whole else [])
            if all(dim in table.cells[number] for table in whole)
        }
        for number in range(len(first.labels))
    )
    left_out = [table.title for table in found if table not in whole]
    note = f"main scores x 100, over {len(whole)} of {len(found)} tasks"
    note += f", without {', '.join(left_out)}" if left_out else ""
    widths = tuple(map(max, zip(*(table.widths for table in found), strict=True)))
    kind = "" if title == MEAN else title
    common = (first.precisions, first.trained, _intervals(cells, first.compare, places), places, first.compare)
    return Table(title, note, first.labels, widths, cells, True, "", kind, *common)


def _mean_cell(cells: Sequence[Cell], compare: Compare | None, places: Sequence[Place], dim: int, column: int) -> Cell:
    same = len({len(cell.draws) for cell in cells}) == 1
    draws = tuple(map(fmean, zip(*(cell.draws for cell in cells), strict=True))) if same else ()
    draws = draws or (fmean(cell.score for cell in cells),)
    return Cell(draws, None if compare is None else compare.score(places, dim, column))
