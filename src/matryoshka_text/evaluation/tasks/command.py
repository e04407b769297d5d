"""The command that fetches data of mteb's tasks, as a shell takes it."""

import re
import shlex
from collections.abc import Sequence

from matryoshka_text.evaluation.tasks.planned import PlannedTask, PlannedText
from matryoshka_text.suite import Suite

__all__ = ["fetch_command", "offline_note", "suite_command"]


def fetch_command(names: Sequence[str]) -> str:
    """`mtext data fetch NAME … --out DIR` for suites, files, benchmarks and tasks of those names."""
    return f"mtext data fetch {' '.join(map(_quoted, dict.fromkeys(names)))} --out DIR"


def suite_command(suite: Suite, tasks: Sequence[str]) -> str:
    """The command that fetches those of the suite's tasks: by the suite's name, where one command line name is all."""
    return fetch_command(tasks if suite.given is None else [suite.given])


def offline_note(suite: Suite, tasks: Sequence[PlannedTask | PlannedText]) -> str | None:
    """What to do about tasks that are to be read from the hub when it is not to be asked; None where none is."""
    from huggingface_hub import constants

    of_hub = [task.name for task in tasks if isinstance(task, PlannedTask) and task.folder is None]
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
