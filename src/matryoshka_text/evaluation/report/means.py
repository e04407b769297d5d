"""Means over tables: over a type's tasks, over all tasks, and over kinds of task, each kind counting once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from matryoshka_text.evaluation.report.table import Cell, Compare, Place, Table, Weights, intervals_of

__all__ = ["KINDS", "MEAN", "kind_mean", "task_mean", "type_means"]

MEAN, KINDS = "Mean", "Mean over kinds"


def task_mean(found: Sequence[Table]) -> list[Table]:
    """The mean over all tasks, each counting once; [] of a single task."""
    tasks = _tasks(found)
    return [_mean(MEAN, tasks)] if len(tasks) > 1 else []


def kind_mean(found: Sequence[Table]) -> list[Table]:
    """The mean over task types of the mean over each type's tasks, so that no kind decides by the number of its tasks.

    [] where it is the mean over tasks again: of a single type, or of types with one task each.
    """
    tasks = _tasks(found)
    counts = Counter(table.type for table in tasks)
    if len(counts) < 2 or max(counts.values()) < 2:
        return []
    mean = _mean(KINDS, tasks, by_kind=True)
    return [mean] if mean.weights is not None else []


def type_means(found: Sequence[Table]) -> list[Table]:
    """The mean over each task type's tasks, in the order of the types; [] where all tasks are of one type."""
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
    weights = _weights(whole) if by_kind else None
    cells = tuple(
        {
            dim: _mean_cell([table.cells[number][dim] for table in whole], first.compare, places, dim, number, weights)
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


def _weights(tasks: Sequence[Table]) -> tuple[float, ...] | None:
    """What each task counts where every kind counts once; None where that is alike for all."""
    counts = Counter(table.type for table in tasks)
    if len(counts) < 2 or len(set(counts.values())) == 1:
        return None
    return tuple(1 / (len(counts) * counts[table.type]) for table in tasks)


def _note(found: Sequence[Table], whole: Sequence[Table], apart: Sequence[str], *, by_kind: bool) -> str:
    left_out = [table.title for table in found if table not in whole]
    note = f"main scores x 100, over {len(whole)} of {len(found)} tasks"
    if by_kind:
        note += f" of {len({table.type for table in whole})} kinds, each kind counting once"
    note += f", without {', '.join(left_out)}" if left_out else ""
    return note + "".join(f"; none of {label}: some kinds of task have no corpus" for label in apart)


def _mean_cell(
    cells: Sequence[Cell], compare: Compare | None, places: Sequence[Place], dim: int, column: int, weights: Weights
) -> Cell:
    same = len({len(cell.draws) for cell in cells}) == 1
    draws = tuple(_average(one, weights) for one in zip(*(cell.draws for cell in cells), strict=True)) if same else ()
    draws = draws or (_average([cell.score for cell in cells], weights),)
    return Cell(draws, None if compare is None else compare.score(places, dim, column, weights))


def _average(numbers: Sequence[float], weights: Weights) -> float:
    return fmean(numbers, weights)
