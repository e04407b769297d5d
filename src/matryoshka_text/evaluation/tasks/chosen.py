"""The tasks of mteb that a suite names, benchmarks and aggregates taken apart: their classes, splits and subsets."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from matryoshka_text.suite import TaskEntry

__all__ = ["TaskChoice", "benchmark_names", "chosen_tasks", "closest", "is_benchmark", "is_task", "task_names"]


@dataclass(frozen=True)
class TaskChoice:
    """A task of mteb as it is to be scored; None: all that mteb scores."""

    task_class: Any
    split: str | None = None
    subsets: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """What mteb calls the task."""
        return str(self.task_class.metadata.name)


class Unusable(Exception):
    """Why an entry cannot be scored: found, allowed, way out."""


class OtherLanguages(Unusable):
    """A task that holds none of the languages asked for."""


def chosen_tasks(entry: TaskEntry) -> list[TaskChoice] | str:
    """The single tasks that the entry means (of an aggregate and a benchmark: the parts); or why not, in words."""
    try:
        if entry.benchmark is not None:
            return list(_of_benchmark(entry))
        return list(_of_task(_task(str(entry.task)), entry))
    except Unusable as error:
        return str(error)


def is_task(name: str) -> bool:
    """Whether mteb has a task of that name."""
    from mteb import get_task

    try:
        get_task(name)
    except KeyError:
        return False
    return True


def is_benchmark(name: str) -> bool:
    """Whether mteb has a benchmark of that name, or of that former name."""
    return _benchmark(name) is not None


def task_names() -> list[str]:
    """The names of mteb's tasks about text."""
    from mteb import get_tasks

    return [task.metadata.name for task in get_tasks(exclude_superseded=False, modalities=["text"])]


def benchmark_names() -> list[str]:
    """The names of mteb's benchmarks."""
    from mteb import get_benchmarks

    return [benchmark.name for benchmark in get_benchmarks()]


def closest(name: str, names: Iterable[str]) -> str:
    """`did you mean A or B? `, or nothing where no name is near."""
    by_lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(by_lower[one] for one in near)}? " if near else ""


def _task(name: str) -> Any:
    from mteb import get_task

    try:
        return get_task(name)
    except KeyError:
        if is_benchmark(name):
            raise Unusable(f"{name!r} is a benchmark of mteb, no task; write `benchmark: {name}`") from None
        hint = closest(name, task_names())
        raise Unusable(f"mteb has no task {name!r}; {hint}For a BEIR folder write `retrieval`") from None


def _benchmark(name: str) -> Any:
    from mteb import get_benchmark

    try:
        return get_benchmark(name)
    except KeyError:
        return None


def _of_benchmark(entry: TaskEntry) -> Iterator[TaskChoice]:
    benchmark = _benchmark(entry.target)
    if benchmark is None:
        hint = closest(entry.target, benchmark_names())
        raise Unusable(f"mteb has no benchmark {entry.target!r}; {hint}The names are those of mteb's leaderboard")
    refused: list[str] = []
    found: list[TaskChoice] = []
    for task in benchmark.tasks:
        try:
            found += _of_task(task, entry)
        except OtherLanguages:
            continue
        except Unusable as error:
            refused.append(str(error))
    if not found and not refused:
        raise Unusable(
            f"no task of {entry.target} is in {', '.join(entry.languages or ())}; leave `languages` out for all"
        )
    if refused:
        raise Unusable(
            f"{len(refused)} of the {len(benchmark.tasks)} tasks of {entry.target} cannot be scored: "
            + "; ".join(refused[:3])
            + ("; …" if len(refused) > 3 else "")
            + ". Name the tasks that can be scored with `task`"
        )
    yield from found


def _of_task(task: Any, entry: TaskEntry) -> Iterator[TaskChoice]:
    if task.is_aggregate:
        for part in task.metadata.tasks:
            yield from _of_task(part, entry)
        return
    metadata = task.metadata
    if metadata.modalities != ["text"]:
        about = ", ".join(metadata.modalities)
        raise Unusable(f"{metadata.name} is about {about}; allowed: tasks about text alone; leave it out")
    subsets = _subsets(task, entry)
    splits: list[str | None] = [entry.split] if entry.split else list(task.eval_splits)
    for split in [None] if entry.split is None and splits == list(metadata.eval_splits) else splits:
        yield TaskChoice(type(task), split, subsets)


def _subsets(task: Any, entry: TaskEntry) -> tuple[str, ...] | None:
    """Which of the task's subsets are scored, in mteb's order; None: all it has."""
    names = list(task.metadata.hf_subsets)
    unknown = [name for name in entry.subsets or () if name not in names]
    if unknown:
        hint = closest(unknown[0], names)
        raise Unusable(
            f"{task.metadata.name} has no subset {', '.join(unknown)}; {hint}allowed: {_listed(names)}; "
            "leave `subsets` out for all"
        )
    chosen = [name for name in task.hf_subsets if entry.subsets is None or name in entry.subsets]
    if entry.languages is not None:
        spoken = _in_languages(task, entry.languages)
        chosen = [name for name in chosen if name in spoken]
    if not chosen:
        codes = sorted({code for codes in task.metadata.hf_subsets_to_langscripts.values() for code in codes})
        raise OtherLanguages(
            f"{task.metadata.name} has nothing in {', '.join(entry.languages or ())}; allowed: {_listed(codes)}; "
            "write codes of three letters (eng) or with the script (eng-Latn)"
        )
    return None if chosen == names else tuple(chosen)


def _in_languages(task: Any, languages: tuple[str, ...]) -> set[str]:
    """The subsets that hold one of the languages, by mteb's own filter on a task object of its own."""
    try:
        return set(type(task)().filter_languages(list(languages)).hf_subsets)
    except ValueError:
        return set()


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
