"""What stands beside the numbers: models, versions, dates, normalisation and data."""

from collections.abc import Sequence
from dataclasses import dataclass

from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.tasks.planned import MASKED_TEXT, PlannedTask
from matryoshka_text.rows import Row

__all__ = ["DataLine", "data_lines", "dates", "normalization", "versions_of"]


@dataclass(frozen=True)
class DataLine:
    """One task's data: `official`: byte for byte those of the revision that mteb declares."""

    task: str
    type: str
    split: str
    metric: str
    data: str
    official: bool


def normalization(rows: Sequence[Row]) -> str:
    """What was done to prefixes; "" where nothing but masked text was scored, which has none."""
    normalize = {row.normalize for row in rows if row.type != MASKED_TEXT}
    how = "brought back to length 1" if True in normalize else "left as they are"
    return f"prefixes {how} before scoring" if normalize else ""


def data_lines(plan: Plan, rows: Sequence[Row]) -> list[DataLine]:
    """Each scored task and split with its data, in the order of the rows."""
    official = {task.name: isinstance(task, PlannedTask) and task.official for task in plan.tasks}
    return list(
        dict.fromkeys(
            DataLine(row.task, row.type, row.split, row.metric, row.data, official.get(row.task, False)) for row in rows
        )
    )


def versions_of(rows: Sequence[Row]) -> list[str]:
    """The versions of libraries, one line for each combination that occurs: rows may come of different days."""
    return list(dict.fromkeys(", ".join(f"{name} {number}" for name, number in row.versions.items()) for row in rows))


def dates(rows: Sequence[Row]) -> str:
    """The day, or the first and the last, UTC."""
    days = sorted({f"{row.date:%Y-%m-%d}" for row in rows})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
