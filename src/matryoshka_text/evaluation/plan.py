"""What an evaluation will do, checked before anything is encoded: tasks, data, models and dims."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matryoshka_text.errors import DataError, ModelError, RecipeError
from matryoshka_text.evaluation.place import DATA_ROOT, data_roots, find_text
from matryoshka_text.evaluation.planned import PlannedTask, PlannedText
from matryoshka_text.evaluation.subject import Subject, open_subjects
from matryoshka_text.evaluation.twins import open_twins
from matryoshka_text.extras import optional
from matryoshka_text.recipe.presets import log_dims
from matryoshka_text.suite import Suite, TaskEntry, load_suite

__all__ = ["Column", "Plan", "PlannedTask", "PlannedText", "plan"]


@dataclass(frozen=True)
class Column:
    """What stands in one column of a table: a model at every dim, or (FF) at each dim the model trained at it alone."""

    label: str
    members: tuple[Subject, ...]


@dataclass(frozen=True)
class Plan:
    """Everything an evaluation needs to know; `subjects[0]` is the model, the others are what it is compared with."""

    suite: Suite
    tasks: tuple[PlannedTask | PlannedText, ...]
    subjects: tuple[Subject, ...]
    dims: tuple[int, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The model, then each model that it is compared with; those trained at one dim alone make one column, FF."""
        alone = tuple(one for one in self.subjects if one.only is not None)
        whole = [Column(one.label, (one,)) for one in self.subjects if one.only is None]
        return (*whole, *([Column("FF", alone)] if alone else []))

    def dims_of(self, subject: Subject) -> tuple[int, ...]:
        """The dims at which that model is scored: the plan's up to its width, and its full width; an FF's own alone."""
        if subject.only is not None:
            return (subject.only,)
        return tuple(sorted({dim for dim in self.dims if dim <= subject.width} | {subject.width}))


def plan(
    model: str | Path | None,
    suite: str | Path | Suite = "quick",
    *,
    dims: Sequence[int] | None = None,
    data_root: str | Path | None = None,
    against: Sequence[str | Path] = (),
    twins: bool = False,
    layers: int | None = None,
) -> Plan:
    """The checked plan. `MtextError` for an unknown suite or task, missing data (all of it at once), a model or dims
    or layers that cannot be used, twins that are not there. Without a model only suite and data are checked.
    """
    suite = suite if isinstance(suite, Suite) else load_suite(suite)
    tasks = _tasks(suite, data_root)
    subjects = open_subjects([str(one) for one in ([model] if model else []) + list(against)])
    if layers is not None:
        subjects = tuple(one.with_layers(layers) for one in subjects)
    chosen = _dims(dims, suite, subjects[0]) if subjects else tuple(dims or suite.dims or ())
    if twins and model is None:
        raise ModelError("--twins: no model given; name the run whose twins are meant")
    beside = open_twins(subjects[0]) if twins else ()
    # A twin trained at a dim that is not asked for has no place in the tables.
    return Plan(suite, tasks, (*subjects, *(one for one in beside if one.only in (None, *chosen))), chosen)


def _dims(asked: Sequence[int] | None, suite: Suite, subject: Subject) -> tuple[int, ...]:
    dims = tuple(asked or suite.dims or subject.dims or log_dims(subject.width))
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


def _tasks(suite: Suite, data_root: str | Path | None) -> tuple[PlannedTask | PlannedText, ...]:
    roots = data_roots(suite, data_root)
    with_mteb = _mteb_tasks(suite, roots)
    found = [
        with_mteb[place] if entry.masked_text is None else _planned_text(entry, suite, roots)
        for place, entry in enumerate(suite.tasks)
    ]
    planned = tuple(one for one in found if not isinstance(one, str))
    problems = [one for one in found if isinstance(one, str)]
    if problems:
        raise DataError(
            f"suite {suite.name}: {len(problems)} of {len(suite.tasks)} tasks have no data, so nothing was run.\n  "
            + "\n  ".join(problems)
            + f"\nWay out: give the folder that holds {_layout(suite)} with --data-root or {DATA_ROOT}"
            + ("; or give neither, and tasks of mteb are loaded from the hub" if roots and suite.data is None else "")
        )
    return planned


def _layout(suite: Suite) -> str:
    """What a data root has to hold for the suite."""
    texts = [entry.masked_text for entry in suite.tasks if entry.masked_text is not None]
    of_mteb = ["mteb/<org>__<name>/", "extra/<name>/"] if len(texts) < len(suite.tasks) else []
    return " and ".join([*of_mteb, *texts])


def _mteb_tasks(suite: Suite, roots: list[Path]) -> dict[int, PlannedTask | str]:
    """The tasks that need mteb, by place in the suite; mteb is asked for only where there is one."""
    wanted = {place: entry for place, entry in enumerate(suite.tasks) if entry.masked_text is None}
    if not wanted:
        return {}
    optional("mteb", extra="eval", purpose="an evaluation")
    from matryoshka_text.evaluation.mteb_plan import classes_of, planned_task

    classes = classes_of(suite)
    return {place: planned_task(entry, suite, roots, classes) for place, entry in wanted.items()}


def _planned_text(entry: TaskEntry, suite: Suite, roots: list[Path]) -> PlannedText | str:
    found = find_text(roots, str(entry.masked_text), suite.folder)
    return f"{entry.name}: {found}" if isinstance(found, str) else PlannedText.of(entry, found)
