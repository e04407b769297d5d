"""Rows to tables: one per task, and their mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from matryoshka_text.evaluation.plan import Column, Plan, PlannedTask, PlannedText
from matryoshka_text.rows import Row

__all__ = ["Table", "tables"]

MEAN = "Mean"
PERPLEXITY = "perplexity"


@dataclass(frozen=True)
class Table:
    """Numbers by column and dim; `scores[i]` belongs to column `labels[i]`; dims without a number are left out.

    `main`: scores x 100, more is better; otherwise a further metric, of which no share makes sense (perplexity).
    """

    title: str
    note: str
    labels: tuple[str, ...]
    widths: tuple[int, ...]
    scores: tuple[dict[int, float], ...]
    main: bool = True

    @property
    def dims(self) -> list[int]:
        """Every dim at which the model, or one of the others, was scored."""
        return sorted({dim for scores in self.scores for dim in scores})

    def share(self, dim: int) -> float | None:
        """The model's score at `dim`, in % of its full width's; None where one is missing or that is not positive."""
        full, score = self.scores[0].get(self.widths[0]), self.scores[0].get(dim)
        return None if score is None or full is None or full <= 0 else 100 * score / full

    def difference(self, dim: int, other: int) -> float | None:
        """Points the model is above column number `other` at the same dim."""
        ours, theirs = self.scores[0].get(dim), self.scores[other].get(dim)
        return None if ours is None or theirs is None else ours - theirs


def tables(plan: Plan, rows: Sequence[Row]) -> list[Table]:
    """A table for each task and split that was scored, in the suite's order, and the mean where there are several.

    A task with a further metric has a second table right after its own.
    """
    found = []
    for task in plan.tasks:
        for split in dict.fromkeys(
            row.split for row in rows if row.task == task.name and task.split in (None, row.split)
        ):
            chosen = [row for row in rows if (row.task, row.split) == (task.name, split)]
            found += _of_task(plan.columns, task, split, chosen)
    main = [table for table in found if table.main]
    return [*found, _mean(main)] if len(main) > 1 else found


def _of_task(columns: Sequence[Column], task: PlannedTask | PlannedText, split: str, rows: list[Row]) -> list[Table]:
    title = task.name if split == "test" else f"{task.name} ({split})"
    rows_of = [_rows_of(column, rows) for column in columns]
    labels = tuple(column.label for column in columns)
    widths = tuple(
        max((row.width for row in own), default=column.members[0].width)
        for own, column in zip(rows_of, columns, strict=True)
    )

    def table(title: str, note: str, number: Callable[[Row], float | None], main: bool) -> Table:
        scores = tuple({row.dim: x for row in own if (x := number(row)) is not None} for own in rows_of)
        return Table(title, note, labels, widths, scores, main)

    found = [
        table(
            title, task.about(split) + _tokens(labels, rows_of) + _bounds(columns, widths), lambda row: row.score, True
        )
    ]
    if any(PERPLEXITY in row.further for row in rows):
        note = f"{PERPLEXITY}, less is better"
        found.append(table(f"{title}, {PERPLEXITY}", note, lambda row: row.further.get(PERPLEXITY), False))
    return found


def _rows_of(column: Column, rows: Sequence[Row]) -> list[Row]:
    wanted = {(one.weights, one.only) for one in column.members}
    return [row for row in rows if (row.weights, None) in wanted or (row.weights, row.dim) in wanted]


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


def _mean(found: Sequence[Table]) -> Table:
    """The mean over the tasks that every model has: means over different tasks cannot be compared."""
    whole = [table for table in found if all(table.scores)]
    scores = tuple(
        {
            dim: fmean(table.scores[number][dim] for table in whole)
            for dim in (whole[0].dims if whole else [])
            if all(dim in table.scores[number] for table in whole)
        }
        for number in range(len(found[0].labels))
    )
    left_out = [table.title for table in found if table not in whole]
    note = f"main scores x 100, over {len(whole)} of {len(found)} tasks"
    note += f", without {', '.join(left_out)}" if left_out else ""
    widths = tuple(map(max, zip(*(table.widths for table in found), strict=True)))
    return Table(MEAN, note, found[0].labels, widths, scores)
