"""The data sets of the hub that a suite's tasks read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from matryoshka_text.errors import RecipeError
from matryoshka_text.extras import optional
from matryoshka_text.suite import Suite

__all__ = ["Wanted", "datasets_of", "datasets_of_tasks"]


@dataclass(frozen=True)
class Wanted:
    """A data set at one revision, and the tasks that read it."""

    repo: str
    revision: str
    tasks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.repo} @ {self.revision[:12]}"


def datasets_of(*suites: Suite) -> tuple[Wanted, ...]:
    """The data sets of the suites' tasks and benchmarks of mteb, each once, in the suites' order.

    Its own sets and texts have none. `RecipeError` for all tasks and benchmarks that mteb lacks or that cannot be
    scored.
    """
    of_mteb = [
        (f"{suite.place(index)}.{one.kind}", one)
        for suite in suites
        for index, one in enumerate(suite.tasks)
        if one.kind in ("task", "benchmark")
    ]
    if not of_mteb:
        return ()
    optional("mteb", extra="eval", purpose="a list of mteb's data sets")
    from matryoshka_text.evaluation.tasks.chosen import chosen_tasks

    chosen = [(place, chosen_tasks(entry)) for place, entry in of_mteb]
    problems = [f"{place}: {one}" for place, one in chosen if isinstance(one, str)]
    if problems:
        raise RecipeError("\n".join(problems))
    return datasets_of_tasks(task.task_class for _, one in chosen if not isinstance(one, str) for task in one)


def datasets_of_tasks(tasks: Iterable[Any]) -> tuple[Wanted, ...]:
    """The data sets of mteb's single tasks, objects or classes, each once."""
    found: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        declared = task.metadata.dataset
        found.setdefault((declared["path"], declared["revision"]), []).append(task.metadata.name)
    return tuple(Wanted(*key, tuple(dict.fromkeys(names))) for key, names in found.items())
