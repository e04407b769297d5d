"""Rows to tables: one per task, and the means over task types, tasks and kinds of task."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from matryoshka_text.evaluation.plan import Column, Plan, PlannedTask, PlannedText
from matryoshka_text.evaluation.report.table import KEPT, Cell, Gap, Table, bands_of, intervals_of
from matryoshka_text.evaluation.scoring.compare import Comparisons, Place, Weights
from matryoshka_text.rows import Row

__all__ = [
    "KEPT",
    "KINDS",
    "MEAN",
    "Cell",
    "Gap",
    "Table",
    "bands_of",
    "kind_mean",
    "kind_weights",
    "tables",
    "task_mean",
    "type_means",
]

PERPLEXITY = "perplexity"


def tables(plan: Plan, rows: Sequence[Row], compare: Comparisons | None = None) -> list[Table]:
    """A table for each task and split that was scored, in the suite's order, and the means where there are several:
    over tasks, and over kinds of task where that is another number.

    A task with a further metric has a second table right after its own. `compare`: None leaves all intervals out but
    those that rows have.
    """
    # A task may be named with one of its splits and without: each split occurs once.
    wanted: dict[Place, PlannedTask | PlannedText] = {}
    for task in plan.tasks:
        wanted.update({(task.name, split): task for split in task.splits if (task.name, split) not in wanted})
    found = []
    for (name, split), task in wanted.items():
        chosen = [row for row in rows if (row.task, row.split) == (name, split)]
        found += _of_task(plan, task, split, rows=chosen, compare=compare) if chosen else []
    return [*found, *task_mean(found), *kind_mean(found)]


def _of_task(
    plan: Plan, task: PlannedTask | PlannedText, split: str, *, rows: list[Row], compare: Comparisons | None
) -> list[Table]:
    title = task.name if split == "test" else f"{task.name} ({split})"
    columns = plan.columns
    rows_of = [[row for row in rows if column.holds(row)] for column in columns]
    widths = tuple(
        max((row.width for row in own), default=column.members[0].width)
        for own, column in zip(rows_of, columns, strict=True)
    )
    common: dict[str, Any] = {
        "labels": tuple(column.label for column in columns),
        "widths": widths,
        "task": task.name,
        "type": task.type,
        "precisions": tuple(column.precision for column in columns),
        "trained": plan.subjects[0].dims,
        "corpus": frozenset(place for place, column in enumerate(columns) if column.fitted_on_corpus),
    }
    cells = tuple(_cells(own, lambda row: row.score, intervals=True) for own in rows_of)
    note = task.about(split) + _tokens(common["labels"], rows_of) + _bounds(columns, widths)
    places = ((task.name, split),)
    known: dict[str, Any] = {"intervals": intervals_of(cells, compare, places), "places": places, "compare": compare}
    found = [Table(title, note, cells=cells, **common, **known)]
    if any(PERPLEXITY in row.further for row in rows):
        cells = tuple(_cells(own, lambda row: row.further.get(PERPLEXITY)) for own in rows_of)
        note = f"{PERPLEXITY}, less is better"
        title = f"{title}, {PERPLEXITY}"
        found.append(Table(title, note, cells=cells, main=False, **common))
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


MEAN, KINDS = "Mean", "Mean over kinds"


def task_mean(found: Sequence[Table]) -> list[Table]:
    """The mean over all tasks, each counting once; [] of a single task."""
    tasks = _tasks(found)
    return [_mean(MEAN, tasks)] if len(tasks) > 1 else []


def kind_mean(found: Sequence[Table]) -> list[Table]:
    """The mean over task types of the mean over each type's tasks, so that no kind decides by the number of its tasks.

    [] if it is the mean over tasks again: of a single type, or of types with one task each.
    """
    tasks = _tasks(found)
    counts = Counter(table.type for table in tasks)
    if len(counts) < 2 or max(counts.values()) < 2:
        return []
    mean = _mean(KINDS, tasks, by_kind=True)
    return [mean] if mean.weights is not None else []


def type_means(found: Sequence[Table]) -> list[Table]:
    """The mean over each task type's tasks, in the order of the types; [] if all tasks are of one type."""
    tasks = _tasks(found)
    types = dict.fromkeys(table.type for table in tasks)
    if len(types) < 2:
        return []
    return [_mean(one, [table for table in tasks if table.type == one], kind=one) for one in types]


def _tasks(found: Sequence[Table]) -> list[Table]:
    return [table for table in found if table.main and table.task]


def _mean(title: str, found: Sequence[Table], *, kind: str = "", by_kind: bool = False) -> Table:
    """The mean over the tasks that every column has: means over different tasks cannot be compared.

    A column without any score (a model that could not be opened) takes no task away from the others, nor does one that
    is fitted on each task's own documents, where some of the tasks have none: it is left out.
    """
    first = found[0]
    apart = {number for number in first.corpus if not all(table.has_corpus for table in found)}
    alive = [any(own) for own in zip(*(table.cells for table in found), strict=True)]
    counted = [number for number, lives in enumerate(alive) if lives and number not in apart]
    whole = [table for table in found if all(table.cells[number] for number in counted)]
    places = tuple(place for table in whole for place in table.places)
    weights = kind_weights([table.type for table in whole]) if by_kind else None
    cells = tuple(
        {
            dim: Cell(
                _mean_draws([table.cells[number][dim] for table in whole], weights),
                None if first.compare is None else first.compare.score(places, dim, number, weights),
            )
            for dim in (whole[0].dims if whole and number not in apart else [])
            if all(dim in table.cells[number] for table in whole)
        }
        for number in range(len(first.labels))
    )
    widths = tuple(map(max, zip(*(table.widths for table in found), strict=True)))
    note = _note(found, whole, [first.labels[number] for number in sorted(apart) if alive[number]], by_kind=by_kind)
    gaps = intervals_of(cells, first.compare, places, weights)
    return replace(
        first,
        title=title,
        note=note,
        widths=widths,
        cells=cells,
        task="",
        type=kind,
        intervals=gaps,
        places=places,
        weights=weights,
    )


def kind_weights(kinds: Sequence[str]) -> tuple[float, ...] | None:
    """What each task counts in a mean over kinds, given the kind of each; None if that is alike for all."""
    counts = Counter(kinds)
    if len(set(counts.values())) < 2:
        return None
    return tuple(1 / (len(counts) * counts[kind]) for kind in kinds)


def _note(found: Sequence[Table], whole: Sequence[Table], apart: Sequence[str], *, by_kind: bool) -> str:
    left_out = [table.title for table in found if table not in whole]
    note = f"main scores x 100, over {len(whole)} of {len(found)} tasks"
    if by_kind:
        note += f" of {len({table.type for table in whole})} kinds, each kind counting once"
    note += f", without {', '.join(left_out)}" if left_out else ""
    return note + "".join(f"; none of {label}: some kinds of task have no corpus" for label in apart)


def _mean_draws(cells: Sequence[Cell], weights: Weights) -> tuple[float, ...]:
    """The mean of each draw over the tasks if all have as many, otherwise the mean score."""
    same = len({len(cell.draws) for cell in cells}) == 1
    draws = tuple(fmean(one, weights) for one in zip(*(cell.draws for cell in cells), strict=True)) if same else ()
    return draws or (fmean([cell.score for cell in cells], weights),)
