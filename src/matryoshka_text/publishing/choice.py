"""Which scores may go to the leaderboard, which may not and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mteb import TaskResult

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.scoring.results import result_path
from matryoshka_text.evaluation.tasks.planned import PlannedTask, PlannedText
from matryoshka_text.publishing.check import Cell
from matryoshka_text.rows import Row
from matryoshka_text.vectors.views import View

__all__ = ["Choice", "LeftOut", "Result", "choose", "unfit"]


@dataclass(frozen=True)
class LeftOut:
    """A task, or some of its dims, that are not submitted, and why."""

    task: str
    reason: str
    dims: tuple[int, ...] = ()

    def __str__(self) -> str:
        at = f" at {', '.join(map(str, self.dims))} dims" if self.dims else ""
        return f"{self.task}{at}: {self.reason}"


@dataclass(frozen=True)
class Result:
    """mteb's result of one task at one dim (None: full width), the file it is from, and the task."""

    planned: PlannedTask
    dim: int | None
    result: TaskResult
    source: Path


@dataclass(frozen=True)
class Choice:
    """The results to submit, their main scores x 100, and what is left out."""

    results: tuple[Result, ...]
    scores: Mapping[Cell, float]
    left_out: tuple[LeftOut, ...]


def choose(plan: Plan, rows: Sequence[Row], out: Path) -> Choice:
    """What of the model's rows can be submitted: raw prefixes, all layers, float32, mteb's tasks on mteb's data."""
    subject = plan.subjects[0]
    own = [row for row in rows if row.weights == subject.weights and row.layers is None and _plain(row)]
    results: list[Result] = []
    scores: dict[Cell, float] = {}
    left_out: list[LeftOut] = []
    for task in plan.tasks:
        of_task = [
            one for one in own if (one.task, one.data) == (task.name, task.data) and task.split in (None, one.split)
        ]
        reason = unfit(task)
        if reason is None and isinstance(task, PlannedTask):
            reason = _unscored(task, of_task)
        if reason is not None or not isinstance(task, PlannedTask):
            left_out.append(LeftOut(task.name, str(reason)))
            continue
        resized = sorted({row.dim for row in of_task if not _raw(row, subject)})
        if resized:
            left_out.append(
                LeftOut(task.name, "brought back to length 1, which mteb's loader does not do", tuple(resized))
            )
        for dim in sorted({row.dim for row in of_task} - set(resized), reverse=True):
            found = _result(task, subject, dim, out=out, rows=[row for row in of_task if row.dim == dim])
            results.append(found)
            scores |= {(task.name, row.split, found.dim): row.score for row in of_task if row.dim == dim}
    return Choice(tuple(results), scores, tuple(left_out))


def _plain(row: Row) -> bool:
    return (row.method, row.precision) == ("first", "float32")


def _raw(row: Row, subject: Subject) -> bool:
    """Whether mteb's own loader gives the same vectors."""
    return not row.normalize or (row.dim == row.width and subject.unit)


def unfit(task: PlannedTask | PlannedText) -> str | None:
    """Why no score of the task can be submitted, whatever it is; None if it can."""
    declared = _declared(task) if isinstance(task, PlannedTask) else None
    if declared is None or not isinstance(task, PlannedTask):
        return "no task of mteb"
    if task.split is not None and task.split not in declared.metadata.eval_splits:
        return f"the leaderboard reads the split {', '.join(declared.metadata.eval_splits)}, not {task.split}"
    if not task.official:
        revision = declared.metadata.dataset["revision"][:12]
        return (
            f"its data ({task.folder}) are not shown to be mteb's revision {revision}, byte for byte; "
            "`mtext data fetch` brings them so"
        )
    return None


def _unscored(task: PlannedTask, rows: Sequence[Row]) -> str | None:
    """What the rows lack of the task; None if nothing."""
    if not rows:
        return "has no score"
    lacking = sorted(set(_declared(task).metadata.eval_splits) - {row.split for row in rows})
    if lacking:
        return f"the leaderboard reads the split {', '.join(lacking)}, which was not scored"
    return None


def _declared(task: PlannedTask) -> Any:
    """The task of that name as mteb has it; None if it has none."""
    import mteb

    try:
        return mteb.get_task(task.name)
    except KeyError:
        return None


def _result(task: PlannedTask, subject: Subject, dim: int, *, out: Path, rows: Sequence[Row]) -> Result:
    """The result file of the rows, with their splits only, under the revision that mteb declares."""
    marks = {} if rows[0].prompts is None else {"prompts": rows[0].prompts}
    path = result_path(out, subject, View(dim), task.name, normalize=rows[0].normalize, marks=marks)
    if not path.is_file():
        raise EvaluationError(f"{path}: is missing, and rows of it are there; run the evaluation again")
    found = TaskResult.from_disk(path)
    revision = _declared(task).metadata.dataset["revision"]
    if found.dataset_revision not in (revision, task.fingerprint, task.data):
        raise EvaluationError(
            f"{path}: was scored on other data ({found.dataset_revision}); run the evaluation again, into a new --out"
        )
    kept = {split: found.scores[split] for split in {row.split for row in rows} if split in found.scores}
    changed = {"scores": kept, "dataset_revision": revision}
    return Result(task, None if dim == subject.width else dim, found.model_copy(update=changed), path)
