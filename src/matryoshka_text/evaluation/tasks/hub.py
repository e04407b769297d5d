"""What a suite's tasks read of the hub, and the command that fetches it."""

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from matryoshka_text.errors import RecipeError
from matryoshka_text.extras import optional
from matryoshka_text.fetch import Wanted
from matryoshka_text.suite import Suite

__all__ = ["datasets_of", "datasets_of_tasks", "fetch_command", "offline_note", "suite_command"]


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
    from matryoshka_text.evaluation.tasks.names import chosen_tasks

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


def fetch_command(names: Sequence[str]) -> str:
    """`mtext data fetch NAME … --out DIR` for suites, files, benchmarks and tasks of those names."""
    return f"mtext data fetch {' '.join(map(_quoted, dict.fromkeys(names)))} --out DIR"


def suite_command(suite: Suite, tasks: Sequence[str]) -> str:
    """The command that fetches those of the suite's tasks: by the suite's name, where one command line name is all."""
    return fetch_command(tasks if suite.given is None else [suite.given])


def offline_note(suite: Suite, of_hub: Sequence[str]) -> str | None:
    """What to do about the tasks that are read from the hub when it is not to be asked; None if there is none."""
    from huggingface_hub import constants

    if not of_hub or not constants.HF_HUB_OFFLINE:
        return None
    reads = "1 task reads" if len(of_hub) == 1 else f"{len(of_hub)} tasks read"
    return (
        f"HF_HUB_OFFLINE is set, and {reads} the hub: only what its cache has at the declared revisions can be scored. "
        f"On a connected machine this fetches the data: {suite_command(suite, of_hub)}; then give DIR with --data-root"
    )


def _quoted(name: str) -> str:
    # Double quotes, which every shell takes, for names such as "MTEB(eng, v2)".
    return f'"{name}"' if re.fullmatch(r"[\w ()&,.:/+-]*[ ()&,][\w ()&,.:/+-]*", name) else shlex.quote(name)
