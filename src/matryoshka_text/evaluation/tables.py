"""Rows to tables: one per task, and their mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.subject import Subject
from matryoshka_text.rows import Row

__all__ = ["Table", "tables"]

MEAN = "Mean"


@dataclass(frozen=True)
class Table:
    """Scores x 100 by model and dim; `scores[i]` belongs to model `labels[i]`; dims without a score are left out."""

    title: str
    note: str
    labels: tuple[str, ...]
    widths: tuple[int, ...]
    scores: tuple[dict[int, float], ...]

    @property
    def dims(self) -> list[int]:
        """Every dim at which the model, or one of the others, was scored."""
        return sorted({dim for scores in self.scores for dim in scores})

    def share(self, dim: int) -> float | None:
        """The model's score at `dim`, in % of its full width's; None where one is missing or that is not positive."""
        full, score = self.scores[0].get(self.widths[0]), self.scores[0].get(dim)
        return None if score is None or full is None or full <= 0 else 100 * score / full

    def difference(self, dim: int, other: int) -> float | None:
        """Points the model is above model number `other` at the same dim."""
        ours, theirs = self.scores[0].get(dim), self.scores[other].get(dim)
        return None if ours is None or theirs is None else ours - theirs


def tables(plan: Plan, rows: Sequence[Row]) -> list[Table]:
    """A table for each task and split that was scored, in the suite's order, and the mean where there are several."""
    found = []
    for task in plan.tasks:
        for split in dict.fromkeys(
            row.split for row in rows if row.task == task.name and task.split in (None, row.split)
        ):
            chosen = [row for row in rows if (row.task, row.split) == (task.name, split)]
            scores = tuple(_scores(chosen, subject) for subject in plan.subjects)
            title = task.name if split == "test" else f"{task.name} ({split})"
            found.append(_table(plan.subjects, title, f"{task.metric} x 100, {split} split", scores))
    return [*found, _mean(plan.subjects, found)] if len(found) > 1 else found


def _scores(rows: Sequence[Row], subject: Subject) -> dict[int, float]:
    return {row.dim: row.score for row in rows if row.weights == subject.weights}


def _table(subjects: Sequence[Subject], title: str, note: str, scores: tuple[dict[int, float], ...]) -> Table:
    return Table(title, note, tuple(one.label for one in subjects), tuple(one.width for one in subjects), scores)


def _mean(subjects: Sequence[Subject], found: Sequence[Table]) -> Table:
    """The mean over the tasks that every model has: means over different tasks cannot be compared."""
    whole = [table for table in found if all(table.scores)]
    scores = tuple(
        {
            dim: fmean(table.scores[number][dim] for table in whole)
            for dim in (whole[0].dims if whole else [])
            if all(dim in table.scores[number] for table in whole)
        }
        for number in range(len(subjects))
    )
    left_out = [table.title for table in found if table not in whole]
    note = f"main scores x 100, over {len(whole)} of {len(found)} tasks"
    note += f", without {', '.join(left_out)}" if left_out else ""
    return _table(subjects, MEAN, note, scores)
