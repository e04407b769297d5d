"""Suites, tasks and benchmarks by name: what a command line or a suite names, as mteb's task classes."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matryoshka_text.errors import RecipeError
from matryoshka_text.extras import optional
from matryoshka_text.suite import OWN_KINDS, Suite, TaskEntry, load_suite, suite_names

__all__ = [
    "TaskChoice",
    "benchmark_names",
    "chosen_tasks",
    "closest",
    "entries_of",
    "is_benchmark",
    "is_task",
    "open_suite",
    "suite_of",
    "task_names",
]


def open_suite(name_or_path: str | Path) -> Suite:
    """The bundled suite or the suite file of that name, or else the benchmark or task of mteb as a suite.

    `RecipeError` with the closest names where there is none.
    """
    wanted = str(name_or_path)
    if wanted in suite_names() or wanted.endswith((".yaml", ".yml")) or "/" in wanted:
        return load_suite(wanted)
    optional("mteb", extra="eval", purpose="an evaluation")
    if is_benchmark(wanted) or is_task(wanted):
        return suite_of([wanted])
    hint = closest(wanted, [*suite_names(), *benchmark_names()])
    raise RecipeError(
        f"unknown suite {wanted!r}; {hint}allowed: a bundled suite ({', '.join(suite_names())}), the path of a .yaml "
        "file, or a benchmark or task of mteb by its name, such as 'MTEB(eng, v2)'"
    )


def suite_of(names: Sequence[str]) -> Suite:
    """A suite of the tasks and benchmarks of mteb of those names, and of own sets written `kind:name`.

    A name that begins with ./ or ../ is a path from the working folder.
    `RecipeError` naming every unknown one with the closest names.
    """
    entries = entries_of(names)
    slug = re.sub(r"[^a-z0-9]+", "-", names[0].lower()).strip("-") if len(names) == 1 else "tasks"
    given = names[0] if len(names) == 1 else None
    description = ", ".join(names)
    return Suite(name=slug or "tasks", description=description, tasks=entries, given=given, folder=Path.cwd())


def entries_of(names: Sequence[str]) -> tuple[TaskEntry, ...]:
    """An entry for each name; see `suite_of`."""
    if not names:
        raise RecipeError("no task given; allowed: tasks and benchmarks of mteb by name, or own sets as kind:name")
    if any(name.partition(":")[0] not in OWN_KINDS for name in names):
        optional("mteb", extra="eval", purpose="an evaluation")
    found = [_entry(name) for name in dict.fromkeys(names)]
    problems = [one for one in found if isinstance(one, str)]
    if problems:
        raise RecipeError("\n".join(problems))
    return tuple(one for one in found if isinstance(one, TaskEntry))


def _entry(name: str) -> TaskEntry | str:
    kind, colon, target = name.partition(":")
    if colon and target and kind in OWN_KINDS:
        # Otherwise the folder of the suite that it is added to would be searched.
        return TaskEntry.model_validate({kind: str(Path.cwd() / target) if target.startswith(".") else target})
    if is_task(name):
        return TaskEntry(task=name)
    if is_benchmark(name):
        return TaskEntry(benchmark=name)
    hint = closest(name, [*task_names(), *benchmark_names()])
    return (
        f"mteb has no task and no benchmark {name!r}; {hint}For an own set write "
        f"{', '.join(f'{kind}:NAME' for kind in OWN_KINDS)}"
    )


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
        raise Unusable(f"{metadata.name} is about {about}; allowed: tasks about text only; leave it out")
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
