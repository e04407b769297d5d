"""Rows to tables: one per task, means over task types, and the mean over all tasks."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from matryoshka_text.evaluation.plan import Column, Plan, PlannedTask, PlannedText
from matryoshka_text.evaluation.report.means import kind_mean, task_mean, type_means
from matryoshka_text.evaluation.report.table import KEPT, Cell, Compare, Gap, Place, Table, bands_of, intervals_of
from matryoshka_text.rows import Row

__all__ = ["KEPT", "Cell", "Compare", "Gap", "Table", "bands_of", "tables", "type_means"]

PERPLEXITY = "perplexity"


def tables(plan: Plan, rows: Sequence[Row], compare: Compare | None = None) -> list[Table]:
    """A table for each task and split that was scored, in the suite's order, and the means where there are several:
    over tasks, and over kinds of task where that is another number.

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
    return [*found, *task_mean(found), *kind_mean(found)]


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
    common: dict[str, Any] = {
        "precisions": tuple(column.precision for column in columns),
        "trained": plan.subjects[0].dims,
        "corpus": frozenset(place for place, column in enumerate(columns) if column.fitted_on_corpus),
    }
    cells = tuple(_cells(own, lambda row: row.score, intervals=True) for own in rows_of)
    note = task.about(split) + _tokens(labels, rows_of) + _bounds(columns, widths)
    places = ((task.name, split),)
    known: dict[str, Any] = {"intervals": intervals_of(cells, compare, places), "places": places, "compare": compare}
    found = [Table(title, note, labels, widths, cells, True, task.name, task.type, **common, **known)]
    if any(PERPLEXITY in row.further for row in rows):
        cells = tuple(_cells(own, lambda row: row.further.get(PERPLEXITY)) for own in rows_of)
        note = f"{PERPLEXITY}, less is better"
        title = f"{title}, {PERPLEXITY}"
        found.append(Table(title, note, labels, widths, cells, False, task.name, task.type, **common))
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
