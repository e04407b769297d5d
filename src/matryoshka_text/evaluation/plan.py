"""What an evaluation will do, checked before anything is encoded: tasks, data, models and dims."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.evaluation.place import DATA_ROOT, data_roots, find_beir, find_hub_layout
from matryoshka_text.evaluation.subject import Subject, open_subjects
from matryoshka_text.extras import optional
from matryoshka_text.fingerprint import data_fingerprint
from matryoshka_text.suite import Suite, TaskEntry, load_suite

__all__ = ["Plan", "PlannedTask", "default_dims", "plan"]

# A smaller prefix of a halved width says little: below 8 dims nested vectors are unstable (arXiv:2205.13147).
SMALLEST_DIM = 8


@dataclass(frozen=True)
class PlannedTask:
    """One task with its data found: `folder` is None for the hub, `data` identifies the data."""

    name: str
    type: str
    metric: str
    split: str | None
    folder: Path | None
    data: str
    task_class: Any

    @property
    def fingerprint(self) -> str | None:
        """sha256 over the local folder; None for the hub."""
        return self.data if self.folder else None

    def make(self) -> Any:
        """A new task object, data not loaded."""
        return self.task_class().filter_eval_splits([self.split] if self.split else None)


@dataclass(frozen=True)
class Plan:
    """Everything an evaluation needs to know; `subjects[0]` is the model, the others are what it is compared with."""

    suite: Suite
    tasks: tuple[PlannedTask, ...]
    subjects: tuple[Subject, ...]
    dims: tuple[int, ...]

    def dims_of(self, subject: Subject) -> tuple[int, ...]:
        """The dims at which that model is scored: the plan's up to its width, and its full width."""
        return tuple(sorted({dim for dim in self.dims if dim <= subject.width} | {subject.width}))


def plan(
    model: str | Path | None,
    suite: str | Path | Suite = "quick",
    *,
    dims: Sequence[int] | None = None,
    data_root: str | Path | None = None,
    against: Sequence[str | Path] = (),
) -> Plan:
    """The checked plan. `MtextError` for an unknown suite or task, missing data (all of it at once), a model or dims
    that cannot be used. Without a model only suite and data are checked.
    """
    suite = suite if isinstance(suite, Suite) else load_suite(suite)
    optional("mteb", extra="eval", purpose="an evaluation")
    tasks = _tasks(suite, data_root)
    subjects = open_subjects([str(one) for one in ([model] if model else []) + list(against)])
    chosen = _dims(dims, suite, subjects[0]) if subjects else tuple(dims or suite.dims or ())
    return Plan(suite, tasks, subjects, chosen)


def default_dims(width: int) -> tuple[int, ...]:
    """Halvings of the width, down to 8 at least: 12, 24, 48, 96, 192, 384 for 384 (arXiv:2205.13147: log-spaced)."""
    dims = [width]
    while dims[-1] % 2 == 0 and dims[-1] // 2 >= SMALLEST_DIM:
        dims.append(dims[-1] // 2)
    return tuple(reversed(dims))


def _dims(asked: Sequence[int] | None, suite: Suite, subject: Subject) -> tuple[int, ...]:
    dims = tuple(asked or suite.dims or subject.dims or default_dims(subject.width))
    origin = "--dims" if asked else f"suite {suite.name}: dims"
    if dims[0] < 1 or any(after <= before for before, after in pairwise(dims)):
        allowed = "strictly increasing prefix lengths, the first at least 1"
        raise RecipeError(f"{origin}: found {list(dims)}; allowed: {allowed}")
    if dims[-1] > subject.width:
        raise RecipeError(
            f"{origin}: found {dims[-1]}, but {subject.label} gives vectors of width {subject.width}; "
            f"use dims of at most {subject.width}"
        )
    return tuple(sorted({*dims, subject.width}))


def _tasks(suite: Suite, data_root: str | Path | None) -> tuple[PlannedTask, ...]:
    classes = _classes(suite)
    roots = data_roots(suite, data_root)
    found = [_planned(entry, suite, roots, classes) for entry in suite.tasks]
    planned = tuple(one for one in found if isinstance(one, PlannedTask))
    problems = [one for one in found if isinstance(one, str)]
    if problems:
        raise DataError(
            f"suite {suite.name}: {len(problems)} of {len(suite.tasks)} tasks have no data, so nothing was run.\n  "
            + "\n  ".join(problems)
            + "\nWay out: give the folder that holds mteb/<org>__<name>/ and extra/<name>/ "
            + f"with --data-root or {DATA_ROOT}"
            + ("; or give neither, and tasks of mteb are loaded from the hub" if roots and suite.data is None else "")
        )
    return planned


def _planned(entry: TaskEntry, suite: Suite, roots: list[Path], classes: dict[str, Any]) -> PlannedTask | str:
    """The task with its data found, or what is missing in words."""
    from matryoshka_text.evaluation.tasks import beir_class, local_class

    if entry.retrieval is not None:
        split = entry.split or "test"
        found = find_beir(roots, entry.retrieval, split, suite.folder)
        if found.problem or found.folder is None:
            return f"{entry.name}: {found.problem}"
        data = data_fingerprint(found.folder)
        task_class = beir_class(entry.name, found.folder, data, split)
    else:
        original = classes[entry.name]
        found = find_hub_layout(roots, original.metadata.dataset["path"])
        if found.problem:
            return f"{entry.name}: {found.problem}"
        hub = original.metadata.dataset
        data = data_fingerprint(found.folder) if found.folder else f"{hub['path']}@{hub['revision']}"
        task_class = local_class(original, found.folder, data)
    metadata = task_class.metadata
    return PlannedTask(entry.name, metadata.type, metadata.main_score, entry.split, found.folder, data, task_class)


def _classes(suite: Suite) -> dict[str, Any]:
    """The class of mteb for each task the suite names; `RecipeError` with the closest names for all it lacks."""
    from mteb import get_task

    classes, problems = {}, []
    for place, entry in enumerate(suite.tasks):
        if entry.task is None:
            continue
        try:
            task = get_task(entry.task)
        except KeyError:
            near = difflib.get_close_matches(entry.task, _task_names(), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            problems.append(
                f"tasks.{place}.task: mteb has no task {entry.task!r}; {hint}For a BEIR folder write `retrieval`"
            )
            continue
        if task.is_aggregate or task.metadata.modalities != ["text"]:
            kind = (
                "an aggregate; name its parts" if task.is_aggregate else f"about {', '.join(task.metadata.modalities)}"
            )
            problems.append(f"tasks.{place}.task: {entry.task} is {kind}; allowed: single tasks about text")
        classes[entry.task] = type(task)
    if problems:
        raise RecipeError("\n".join(f"suite {suite.name}: {problem}" for problem in problems))
    return classes


def _task_names() -> list[str]:
    from mteb import get_tasks

    return [
        task.metadata.name for task in get_tasks(exclude_superseded=False, exclude_aggregate=True, modalities=["text"])
    ]
