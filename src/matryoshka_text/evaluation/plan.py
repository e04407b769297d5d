"""What an evaluation will do, checked before anything is encoded: tasks, data, models and dims."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matryoshka_text.dims import check_dims, log_dims
from matryoshka_text.errors import ModelError, RecipeError
from matryoshka_text.evaluation.models import Subject, open_subjects, open_twins
from matryoshka_text.evaluation.rotations import Fit, Given, given_rotation
from matryoshka_text.evaluation.tasks.names import open_suite
from matryoshka_text.evaluation.tasks.planned import PlannedTask, PlannedText, planned_tasks
from matryoshka_text.files import expanded
from matryoshka_text.rotation import FitSettings, Rotation
from matryoshka_text.rows import ON_CORPUS, Method, Precision, Row
from matryoshka_text.search.structures import faiss
from matryoshka_text.suite import Suite
from matryoshka_text.vectors.views import View

_SEARCHED = "Retrieval"

__all__ = ["Column", "Plan", "PlannedTask", "PlannedText", "plan_evaluation"]


@dataclass(frozen=True)
class Column:
    """What stands in one column of a table: a model seen in one way at every dim, or (FF) at each dim the model that
    was trained at it only.
    """

    label: str
    members: tuple[Subject, ...]
    method: Method = "first"
    precision: Precision = "float32"
    rotation: str | None = None

    @property
    def fitted_on_corpus(self) -> bool:
        """Whether it is fitted on each task's own documents: no property of the model by itself."""
        return self.method == "rotation"

    def holds(self, row: Row) -> bool:
        """Whether the row is one of this column's; of a method that draws there is one for each seed."""
        seen = (row.method, row.precision) == (self.method, self.precision) and self.rotation in (None, row.rotation)
        return seen and any(
            (row.weights, row.layers) == (one.weights, one.layers) and one.only in (None, row.dim)
            for one in self.members
        )


@dataclass(frozen=True)
class Plan:
    """Everything an evaluation needs to know; `subjects[0]` is the model, the others are what it is compared with.

    `reduced`: the models whose vectors are also reduced by the suite's baselines. `rotation`: one that is also applied
    to the model's own vectors. `search`: the documents of retrieval tasks are also searched by plans.
    """

    suite: Suite
    tasks: tuple[PlannedTask | PlannedText, ...]
    subjects: tuple[Subject, ...]
    dims: tuple[int, ...]
    reduced: tuple[Subject, ...] = ()
    rotation: Given | None = None
    search: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The model, then what it is compared with: its other layers, other models, FF, precisions and baselines."""
        alone = tuple(one for one in self.subjects if one.only is not None)
        whole = [one for one in self.subjects if one.only is None]
        found = [Column(one.label, (one,)) for one in whole] + ([Column("FF", alone)] if alone else [])
        if self.rotation is not None:
            label = f"{self.subjects[0].label} rotated ({self.rotation.name})"
            found.append(Column(label, self.subjects[:1], "rotated", rotation=self.rotation.digest))
        for one in whole:
            others = [precision for precision in self.suite.precisions if precision != "float32"]
            found += [Column(f"{one.label} {precision}", (one,), precision=precision) for precision in others]
            if one in self.reduced:
                found += [Column(_label(one, method), (one,), method) for method in self.suite.baselines]
        return tuple(found)

    def dims_of(self, subject: Subject) -> tuple[int, ...]:
        """The dims at which that model is scored: the plan's up to its width, and its full width; an FF's own."""
        if subject.only is not None:
            return (subject.only,)
        return tuple(sorted({dim for dim in self.dims if dim <= subject.width} | {subject.width}))

    def views_of(self, subject: Subject) -> tuple[View, ...]:
        """All that is scored of that model's vectors, full width first: it is what the shares are shares of."""
        dims = self.dims_of(subject)[::-1]
        found = [View(dim) for dim in dims]
        if subject.only is None:
            found += [View(dim, precision=one) for one in self.suite.precisions if one != "float32" for dim in dims]
        if self.rotation is not None and subject == self.subjects[0]:
            found += [View(dim, "rotated", rotation=self.rotation.digest) for dim in dims]
        if subject in self.reduced:
            found += [
                view for method in self.suite.baselines for dim in dims for view in self._reduced(method, dim, subject)
            ]
        return tuple(found)

    def views_for(self, task: PlannedTask, subject: Subject) -> tuple[View, ...]:
        """Those of the views that the task can have: a rotation is fitted on a corpus only."""
        return tuple(view for view in self.views_of(subject) if view.method != "rotation" or task.has_corpus)

    def searches(self, task: PlannedTask | PlannedText, subject: Subject) -> bool:
        """Whether that task's documents are searched by that model's vectors too."""
        return task in self.searched and subject.only is None

    @property
    def searched(self) -> tuple[PlannedTask | PlannedText, ...]:
        """The tasks whose documents are searched by plans too."""
        return tuple(task for task in self.tasks if self.search and task.type == _SEARCHED)

    def fit_of(self, subject: Subject) -> Fit:
        """How a rotation of that model's vectors is fitted on a task's documents: at the dims that are scored."""
        return Fit(self.dims_of(subject), FitSettings(seed=self.suite.seed))

    def _reduced(self, method: Method, dim: int, subject: Subject) -> list[View]:
        if method == "random" and dim == subject.width:
            return []  # all coordinates, in another order
        view = View(dim, method, rotation=self.fit_of(subject).digest if method == "rotation" else None)
        seeds = range(self.suite.seed, self.suite.seed + self.suite.draws)
        return [View(dim, method, seed) for seed in seeds] if view.drawn else [view]


def _label(subject: Subject, method: Method) -> str:
    return f"{subject.label} {method}" + (ON_CORPUS if method == "rotation" else "")


def plan_evaluation(
    model: str | Path | None,
    suite: str | Path | Suite = "quick",
    *,
    dims: Sequence[int] | None = None,
    data_root: str | Path | None = None,
    against: Sequence[str | Path] = (),
    twins: bool = False,
    layers: int | Sequence[int] | None = None,
    precisions: Sequence[Precision] | None = None,
    baselines: Sequence[Method] | None = None,
    sample: str | Path | None = None,
    raw_prefix: bool = False,
    rotation: str | Path | Rotation | None = None,
    search: bool = False,
    trust_remote_code: bool = False,
) -> Plan:
    """The checked plan. `MtextError` for an unknown suite or task, missing data (all of it at once), a model or dims
    or layers that cannot be used, twins that are not there. Without a model only suite and data are checked.

    What is given next to the suite takes the place of what the suite says. Baselines are made of the models `against`,
    or, where there is none, of the model itself. `rotation` (a file of `mtext rotate`, or the object) is applied to
    the model's own vectors: `ModelError` if it is of another width. `search`: `ExtraMissing` without FAISS,
    `RecipeError` if nothing would be searched. `trust_remote_code`: the models may bring code.
    """
    suite = suite if isinstance(suite, Suite) else open_suite(suite)
    suite = _with_settings(
        suite, layers=layers, precisions=precisions, baselines=baselines, sample=sample, raw_prefix=raw_prefix
    )
    planned = planned_tasks(suite, data_root)
    names = [str(one) for one in ([model] if model else []) + list(against)]
    opened = open_subjects(names, trust_remote_code=trust_remote_code)
    chosen = _dims(dims, suite, opened[0]) if opened else tuple(dims or suite.dims or ())
    if twins and model is None:
        raise ModelError("--twins: no model given; name the run whose twins are meant")
    # The most layers first: it is what the others are compared with.
    depths = sorted(suite.layers or (), reverse=True)
    subjects = [one.with_layers(depth) for one in opened for depth in depths] if depths else list(opened)
    whole = subjects[:: len(depths) or 1]
    # A twin trained at a dim that is not asked for has no place in the tables.
    beside = [one for one in (open_twins(subjects[0]) if twins else ()) if one.only in (None, *chosen)]
    reduced = (whole[1:] or whole[:1]) if suite.baselines else []
    _require_meant_for_each_other(suite, planned, opened)
    given = None if rotation is None else _given(rotation, planned, opened)
    if search:
        _require_searchable(suite, planned, opened)
    return Plan(suite, planned, (*subjects, *beside), chosen, reduced=tuple(reduced), rotation=given, search=search)


def _require_searchable(suite: Suite, tasks: Sequence[PlannedTask | PlannedText], subjects: Sequence[Subject]) -> None:
    """`RecipeError` for a suite without retrieval, or a model that is not compared by the cosine."""
    faiss()
    if not any(task.type == _SEARCHED for task in tasks):
        found = ", ".join(sorted({task.type for task in tasks}))
        raise RecipeError(
            f"--search: the tasks of suite {suite.name} are of type {found}; allowed: a suite with a task of type "
            f"{_SEARCHED}; add one, such as --task retrieval:NAME, or leave --search out"
        )
    others = [one for one in subjects if not suite.normalize and one.similarity != "cosine"]
    if others:
        raise RecipeError(
            f"--search: {others[0].label} compares vectors as they are by {others[0].similarity}; allowed: the cosine, "
            "which an index searches by; leave --raw-prefix (normalize: false) or --search out"
        )


def _given(
    rotation: str | Path | Rotation, tasks: Sequence[PlannedTask | PlannedText], subjects: Sequence[Subject]
) -> Given:
    """The rotation; `ModelError` for no model or another width, `RecipeError` if nothing would be turned."""
    found = given_rotation(rotation)
    if not subjects:
        raise ModelError("--rotation: no model given; name the model whose vectors it turns")
    if not any(isinstance(task, PlannedTask) for task in tasks):
        raise RecipeError("--rotation: the suite has masked text only, which has no vectors to turn; leave it out")
    found.require_width(subjects[0].width, subjects[0].label)
    return found


def _require_meant_for_each_other(
    suite: Suite, tasks: Sequence[PlannedTask | PlannedText], subjects: Sequence[Subject]
) -> None:
    """`ModelError` for tasks in languages that a model is not declared for, `RecipeError` for prompts of no task."""
    of_mteb = [task for task in tasks if isinstance(task, PlannedTask)]
    if not of_mteb:
        return
    from matryoshka_text.evaluation.mteb_encoder import require_prompts
    from matryoshka_text.evaluation.tasks.languages import declared_languages, language_problem

    require_prompts(suite.prompts, [task.name for task in of_mteb])
    problems = []
    for subject in subjects:
        declared = declared_languages(subject.path, subject.name)
        # Own sets are taken to be English where nobody says what they are: no ground to refuse them.
        for task in (one for one in of_mteb if one.task_class.__module__.startswith("mteb.")):
            metadata = task.task_class.metadata
            problems.append(language_problem(metadata, declared, model=subject.label, subsets=task.subsets))
    found = [problem for problem in problems if problem is not None]
    if found:
        raise ModelError("\n".join(found))


def _with_settings(
    suite: Suite,
    *,
    layers: int | Sequence[int] | None,
    precisions: Sequence[Precision] | None,
    baselines: Sequence[Method] | None,
    sample: str | Path | None,
    raw_prefix: bool,
) -> Suite:
    """The suite with what is given next to it."""
    changes: dict[str, Any] = {}
    if layers is not None:
        changes["layers"] = (layers,) if isinstance(layers, int) else tuple(dict.fromkeys(layers))
    if precisions is not None:
        changes["precisions"] = tuple(precisions)
    if baselines is not None:
        changes["baselines"] = tuple(baselines)
    if sample is not None:
        changes["sample"] = str(expanded(sample).resolve())
    if raw_prefix:
        changes["normalize"] = False
    return suite.model_copy(update=changes)


def _dims(asked: Sequence[int] | None, suite: Suite, subject: Subject) -> tuple[int, ...]:
    dims = tuple(asked or suite.dims or subject.dims or log_dims(subject.width))
    origin = "--dims" if asked else f"suite {suite.name}: dims"
    try:
        check_dims(dims)
    except ValueError as error:
        raise RecipeError(f"{origin}: {error}") from error
    if dims[-1] > subject.width:
        raise RecipeError(
            f"{origin}: found {dims[-1]}, but {subject.label} gives vectors of width {subject.width}; "
            f"use dims of at most {subject.width}"
        )
    return tuple(sorted({*dims, subject.width}))
