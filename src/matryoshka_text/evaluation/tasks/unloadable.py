"""Why a task's data could not be loaded, out of what `datasets` raised and what the files hold."""

import re
from collections.abc import Iterator
from pathlib import Path

from matryoshka_text.evaluation.tasks.file_faults import file_faults
from matryoshka_text.evaluation.tasks.hub import fetch_command
from matryoshka_text.evaluation.tasks.planned import PlannedTask, PlannedText

__all__ = ["unloadable"]

_COLUMNS = re.compile(
    r"[Cc]olumn names? (.+?) not in the dataset\. Current columns in the dataset: \[(.*?)\]", re.DOTALL
)
_CAST = re.compile(r"Couldn't cast\n(.*?)\nto\n(.*?)\nbecause column names don't match", re.DOTALL)


def unloadable(task: PlannedTask | PlannedText, error: Exception) -> str:
    """Place, what was found, what is allowed and the way out for data that raised that error when loaded."""
    if isinstance(task, PlannedText):
        return f"{task.name}: {task.file} cannot be loaded ({_raised(error)}); give a UTF-8 file, one text a line"
    fetched = f"on a connected machine run {fetch_command([task.name])}, then give DIR with --data-root"
    if task.folder is None:
        return f"{task.name}: {task.data} cannot be loaded from the hub or its cache ({_causes(error)}); {fetched}"
    of_mteb = _is_of_mteb(task)
    faults = _of_columns(task.folder, error) or file_faults(task.folder)
    if not faults:
        allowed = f"files as {task.name} has them on the hub" if of_mteb else "files that can be read"
        faults = [f"{task.folder} cannot be loaded ({_causes(error)}); allowed: {allowed}"]
    way_out = f"; put this right, or {fetched}" if of_mteb else "; put this right"
    return "\n  ".join(f"{task.name}: {fault}{way_out}" for fault in faults)


def _of_columns(folder: Path, error: Exception) -> list[str]:
    for one in _chain(error):
        if found := _COLUMNS.search(str(one)):
            lacking, there = (re.sub(r"['{}\[\]]", "", part) for part in found.groups())
            return [f"{folder}: lacks the column {lacking}; found: {there}"]
        if found := _CAST.search(str(one)):
            first = [line.partition(":")[0] for line in found[1].splitlines() if re.match(r"\w+: ", line)]
            second = re.findall(r"'([^']+)': (?:Value|List|Large|Class|Sequence|\{)", found[2])
            return [
                f"{folder}: found files of one set with different columns: {', '.join(first)} in one, "
                f"{', '.join(second)} in another; allowed: the same columns in all files of a set"
            ]
    return []


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, the last cause last."""
    seen: BaseException | None = error
    for _ in range(20):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _causes(error: Exception) -> str:
    """The error and the causes of it that say something else, in one line."""
    return "; because of ".join(dict.fromkeys(map(_raised, list(_chain(error))[:3])))


def _raised(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _is_of_mteb(task: PlannedTask) -> bool:
    from matryoshka_text.evaluation.tasks.names import is_task

    return is_task(task.name)
