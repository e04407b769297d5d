"""Suites out of names: bundled suites, files, and benchmarks and tasks of mteb."""

import re
from collections.abc import Sequence
from pathlib import Path

from matryoshka_text.errors import RecipeError
from matryoshka_text.extras import optional
from matryoshka_text.suite import OWN_KINDS, Suite, TaskEntry, load_suite, suite_names

__all__ = ["entries_of", "open_suite", "suite_of"]


def open_suite(name_or_path: str | Path) -> Suite:
    """The bundled suite or the suite file of that name, or else the benchmark or task of mteb as a suite.

    `RecipeError` with the closest names where there is none.
    """
    wanted = str(name_or_path)
    if wanted in suite_names() or wanted.endswith((".yaml", ".yml")) or "/" in wanted:
        return load_suite(wanted)
    optional("mteb", extra="eval", purpose="an evaluation")
    from matryoshka_text.evaluation.tasks.chosen import benchmark_names, closest, is_benchmark, is_task

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
    from matryoshka_text.evaluation.tasks.chosen import benchmark_names, closest, is_benchmark, is_task, task_names

    if is_task(name):
        return TaskEntry(task=name)
    if is_benchmark(name):
        return TaskEntry(benchmark=name)
    hint = closest(name, [*task_names(), *benchmark_names()])
    return (
        f"mteb has no task and no benchmark {name!r}; {hint}For an own set write "
        f"{', '.join(f'{kind}:NAME' for kind in OWN_KINDS)}"
    )
