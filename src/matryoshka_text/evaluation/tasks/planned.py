"""A suite's tasks with their data found: what cannot be scored is refused, what is missing is listed, all at once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.evaluation.tasks.hub import suite_command
from matryoshka_text.evaluation.tasks.names import entries_of
from matryoshka_text.evaluation.tasks.places import (
    DATA_ROOT,
    data_roots,
    find_beir,
    find_hub_layout,
    find_own,
    find_text,
)
from matryoshka_text.extras import optional
from matryoshka_text.files import sha256_of
from matryoshka_text.fingerprint import data_fingerprint
from matryoshka_text.suite import OWN_KINDS, Suite, TaskEntry

if TYPE_CHECKING:
    from matryoshka_text.evaluation.tasks.names import TaskChoice

__all__ = [
    "CORPUS_TYPES",
    "MASKED_ACCURACY",
    "MASKED_TEXT",
    "PlannedTask",
    "PlannedText",
    "planned_tasks",
    "with_tasks",
]

MASKED_TEXT, MASKED_ACCURACY = "MaskedText", "masked_accuracy"
# mteb's types of tasks over a collection of documents, which somebody who scores them has at hand.
CORPUS_TYPES = ("Retrieval", "InstructionRetrieval", "Reranking", "InstructionReranking", "Clustering")


@dataclass(frozen=True)
class PlannedTask:
    """A task of mteb, or an own set as one: `folder` is its folder or file (None: the hub), `data` identifies the data.

    `official`: the data are, byte for byte, those of the revision that mteb declares (the hub, or a fetched folder).
    `subsets`: of the task's languages or parts those that are scored; None: all. They are part of `data`, as
    <data>#en,de: the mean over other subsets is another score.
    """

    name: str
    type: str
    metric: str
    split: str | None
    folder: Path | None
    data: str
    task_class: Any
    official: bool = False
    subsets: tuple[str, ...] | None = None

    @property
    def fingerprint(self) -> str | None:
        """What tells these local data from others, 64 hex digits; None for the hub."""
        if self.folder is None:
            return None
        data = self.data.partition("#")[0]
        return hashlib.sha256(data.encode()).hexdigest() if self.official else data

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits that are scored: without one given those that mteb scores, not all that the data have."""
        return (self.split,) if self.split else tuple(self.make().eval_splits)

    @property
    def has_corpus(self) -> bool:
        """Whether it is about a collection of documents, which a rotation can be fitted on."""
        return self.type in CORPUS_TYPES

    def make(self) -> Any:
        """A new task object, data not loaded."""
        task = self.task_class().filter_eval_splits([self.split] if self.split else None)
        return task if self.subsets is None else task.filter_languages(None, hf_subsets=list(self.subsets))

    def about(self, split: str) -> str:
        """What the numbers in its table are."""
        return f"{self.metric} x 100, {split} split"


@dataclass(frozen=True)
class PlannedText:
    """A text file whose masked tokens a model has to find; `data` identifies text and masking."""

    name: str
    file: Path
    share: float
    max_length: int
    seed: int
    data: str
    type: str = MASKED_TEXT
    metric: str = MASKED_ACCURACY
    split: str = "test"

    @property
    def splits(self) -> tuple[str, ...]:
        """The one split that a text file is."""
        return (self.split,)

    @classmethod
    def of(cls, entry: TaskEntry, file: Path) -> "PlannedText":
        """The suite's entry with its file found."""
        masking = f"{entry.share!r} {entry.max_length} {entry.seed}"
        data = hashlib.sha256(f"{sha256_of(file)}\0{masking}".encode()).hexdigest()
        return cls(entry.name, file, share=entry.share, max_length=entry.max_length, seed=entry.seed, data=data)

    def about(self, split: str) -> str:
        """What the numbers in its table are."""
        return f"{self.metric} x 100, {100 * self.share:g}% masked"


_Planned = PlannedTask | PlannedText


def planned_tasks(
    suite: Suite, data_root: str | Path | None = None, names: Sequence[str] = ()
) -> tuple[PlannedTask | PlannedText, ...]:
    """The suite's tasks, and those of `names` (tasks and benchmarks of mteb, own sets as kind:name), data found.

    `RecipeError` for all tasks that are unknown or not about text, `DataError` for all data that are not there.
    """
    suite = with_tasks(suite, names)
    roots = data_roots(suite, data_root)
    wanted = _wanted(suite)
    by_entry = [_planned(entry, suite, roots, wanted.get(index)) for index, entry in enumerate(suite.tasks)]
    found = [one for of_entry in by_entry for one in of_entry]
    problems = list(dict.fromkeys(one for one in found if isinstance(one, str)))
    if problems:
        of_mteb = [
            choice.name
            for index, choices in wanted.items()
            for choice, one in zip(choices, by_entry[index], strict=True)
            if isinstance(one, str)
        ]
        raise DataError(_missing(suite, problems, count=len(found), on_hub=not roots, of_mteb=of_mteb))
    tasks = _distinct([one for one in found if not isinstance(one, str)])
    _require_distinct_names(suite, tasks)
    return tuple(tasks)


def with_tasks(suite: Suite, names: Sequence[str]) -> Suite:
    """The suite with those tasks added at its end; see `planned_tasks`."""
    if not names:
        return suite
    added = [entry for entry in entries_of(names) if entry not in suite.tasks]
    # What named the suite no longer names all of it.
    return suite.model_copy(update={"tasks": (*suite.tasks, *added), "given": None}) if added else suite


def _wanted(suite: Suite) -> dict[int, "list[TaskChoice]"]:
    """The tasks of mteb by place in the suite; mteb is asked for only where something needs it."""
    if all(entry.masked_text is not None for entry in suite.tasks):
        return {}
    optional("mteb", extra="eval", purpose="an evaluation")
    from matryoshka_text.evaluation.tasks.names import chosen_tasks, is_task

    found, problems = {}, []
    for index, entry in enumerate(suite.tasks):
        if entry.kind in OWN_KINDS and is_task(entry.name):
            problems.append(
                f"{suite.place(index)}: the name {entry.name} is that of a task of mteb; give another with `name`"
            )
        if entry.task is None and entry.benchmark is None:
            continue
        wanted = chosen_tasks(entry)
        if isinstance(wanted, str):
            problems.append(f"{suite.place(index)}.{entry.kind}: {wanted}")
        else:
            found[index] = wanted
    if problems:
        raise RecipeError("\n".join(problems))
    return found


def _planned(
    entry: TaskEntry, suite: Suite, roots: list[Path], wanted: "list[TaskChoice] | None"
) -> list[PlannedTask | PlannedText | str]:
    """The entry's tasks with their data found, or what is missing in words."""
    if entry.masked_text is not None:
        file = find_text(roots, entry.masked_text, suite.folder)
        return [f"{entry.name}: {file}" if isinstance(file, str) else PlannedText.of(entry, file)]
    if wanted is not None:
        return [_of_mteb(one, roots) for one in wanted]
    return [_own(entry, suite, roots)]


def _of_mteb(wanted: "TaskChoice", roots: list[Path]) -> PlannedTask | str:
    from matryoshka_text.evaluation.tasks.loaded import local_class
    from matryoshka_text.fetch import verified_revision

    hub = wanted.task_class.metadata.dataset
    found = find_hub_layout(roots, hub["path"])
    if found.problem:
        return f"{wanted.name}: {found.problem}"
    official = found.folder is None or verified_revision(found.folder) == hub["revision"]
    data = f"{hub['path']}@{hub['revision']}" if official or found.folder is None else data_fingerprint(found.folder)
    task_class = local_class(wanted.task_class, found.folder, hub["revision"] if official else data)
    parts = "" if wanted.subsets is None else "#" + ",".join(wanted.subsets)
    metadata = task_class.metadata
    return PlannedTask(
        wanted.name,
        metadata.type,
        metadata.main_score,
        split=wanted.split,
        folder=found.folder,
        data=data + parts,
        task_class=task_class,
        official=official,
        subsets=wanted.subsets,
    )


def _own(entry: TaskEntry, suite: Suite, roots: list[Path]) -> PlannedTask | str:
    from matryoshka_text.evaluation.tasks.own_tasks import own_class

    if entry.retrieval is not None:
        found = find_beir(roots, entry.target, entry.split or "test", suite.folder)
    else:
        found = find_own(roots, entry.target, suite.folder)
    if found.problem or found.folder is None:
        return f"{entry.name}: {found.problem}"
    data = data_fingerprint(found.folder) if found.folder.is_dir() else sha256_of(found.folder)
    # Which columns are read, and which label is positive, decides the score as the bytes do.
    read = {**(entry.columns or {}), **({"positive": entry.positive} if entry.positive is not None else {})}
    data += "#" + ",".join(f"{role}={column}" for role, column in sorted(read.items())) if read else ""
    task_class = own_class(entry, found.files, found.folder, data)
    metadata = task_class.metadata
    return PlannedTask(
        entry.name,
        metadata.type,
        metadata.main_score,
        split=entry.split,
        folder=found.folder,
        data=data,
        task_class=task_class,
    )


def _distinct(tasks: Sequence[_Planned]) -> list[_Planned]:
    """The tasks, each once: benchmarks share tasks with one another."""
    return list({(one.name, one.type, one.split, one.data): one for one in tasks}.values())


def _require_distinct_names(suite: Suite, tasks: Sequence[_Planned]) -> None:
    seen: dict[tuple[str, str | None], _Planned] = {}
    doubled = []
    for one in tasks:
        other = seen.setdefault((one.name, one.split), one)
        if other is not one:
            doubled.append(f"{one.name} ({other.type}, {other.data}; {one.type}, {one.data})")
    if doubled:
        raise RecipeError(
            f"suite {suite.name}: one name stands for two tasks: {'; '.join(doubled)}. Results are filed by name: give "
            "an own set another with `name`, or score other subsets of a task in a suite of their own"
        )


def _missing(suite: Suite, problems: list[str], *, count: int, on_hub: bool, of_mteb: list[str]) -> str:
    lines = [f"suite {suite.name}: {len(problems)} of {count} tasks have no data, so nothing was run."]
    lines += [f"  {problem}" for problem in problems]
    way_out = f"Way out: give the folder that holds {_layout(suite)} with --data-root or {DATA_ROOT}"
    if of_mteb and not on_hub and suite.data is None:
        way_out += "; or give neither, and tasks of mteb are loaded from the hub"
    lines.append(way_out)
    if of_mteb:
        lines.append(
            "On a connected machine this fetches the data of mteb's tasks into such a folder: "
            + suite_command(suite, of_mteb)
        )
    return "\n".join(lines)


def _layout(suite: Suite) -> str:
    """What a data root has to hold for the suite."""
    of_mteb = any(entry.kind in ("task", "benchmark") for entry in suite.tasks)
    own = any(entry.kind not in ("task", "benchmark", "masked_text") for entry in suite.tasks)
    texts = [entry.masked_text for entry in suite.tasks if entry.masked_text is not None]
    return " and ".join([*(["mteb/<org>__<name>/"] if of_mteb else []), *(["extra/<name>"] if own else []), *texts])
