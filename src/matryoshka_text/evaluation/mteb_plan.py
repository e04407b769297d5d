"""The tasks of mteb, and BEIR folders, that a suite names: their classes and where their data are."""

import difflib
from pathlib import Path
from typing import Any

from matryoshka_text.errors import RecipeError
from matryoshka_text.evaluation.place import find_beir, find_hub_layout
from matryoshka_text.evaluation.planned import PlannedTask
from matryoshka_text.fingerprint import data_fingerprint
from matryoshka_text.suite import Suite, TaskEntry

__all__ = ["classes_of", "planned_task"]


def planned_task(entry: TaskEntry, suite: Suite, roots: list[Path], classes: dict[str, Any]) -> PlannedTask | str:
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


def classes_of(suite: Suite) -> dict[str, Any]:
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
