"""A plan carried out: tasks outside, models and views inside, and nothing done that was done before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from matryoshka_text.errors import DataError, MtextError, RunError
from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.resume import KeptRows
from matryoshka_text.evaluation.scoring import masked
from matryoshka_text.evaluation.searching.rows import SearchRow
from matryoshka_text.evaluation.settings import Settings, Stage
from matryoshka_text.evaluation.tasks.planned import PlannedTask, PlannedText
from matryoshka_text.evaluation.tasks.sample import Sample, read_sample
from matryoshka_text.progress import Progress
from matryoshka_text.reading import read_texts
from matryoshka_text.rows import Row
from matryoshka_text.vectors.reader import DISK_FULL

if TYPE_CHECKING:
    from matryoshka_text.evaluation.scoring.score import Scorer
    from matryoshka_text.evaluation.searching.searches import Searches

__all__ = ["Failure", "Run"]

# Opened models that are kept: those of a comparison of two need not be opened for every task.
_OPEN = 2
_PACKAGE = str(Path(__file__).parents[1])

Task = PlannedTask | PlannedText
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Failure:
    """A task that could not be scored for a model, and why; `bug`: the exception, if the fault is not the user's."""

    model: str
    task: str
    reason: str
    bug: Exception | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.task} · {self.model}: {self.reason}"


class Run:
    """The rows of a plan: those that `known` has are taken, the others are made and written as they come.

    `rows`, `searched`, `failures` and `stages` fill while `score` goes on.
    """

    def __init__(self, planned: Plan, settings: Settings, known: Sequence[Row], console: Console) -> None:
        self.planned, self.settings, self.console = planned, settings, console
        self.rows: list[Row] = []
        self.failures: list[Failure] = []
        self.stages: list[Stage] = []
        self._kept = KeptRows(planned, settings, known, self.sample)
        self._data: dict[Task, Any] = {}
        self._loading: dict[Task, float] = {}
        self._models: dict[tuple[str, str, int | None], Any] = {}
        self._sample: Sample | None = None
        self.searched: list[SearchRow] = []
        self._searches = _searches(planned, settings)

    def load(self) -> None:
        """Load the data of every unfinished task: nothing is encoded before all of it is known to be readable.

        What `datasets` maps from disk takes no memory. `DataError` with all that cannot be read; the sample too, if
        one is needed.
        """
        problems = []
        for task in self.planned.tasks:
            if all(self._is_done(task, subject) for subject in self.planned.subjects):
                continue
            try:
                self._data_of(task)
            except DataError as error:
                problems.append(str(error))
            except Exception as error:  # whatever `datasets` and the hub raise: the task has no data
                problems.append(_unloadable(task, error))
        if problems:
            raise DataError("nothing was encoded, because data cannot be read:\n  " + "\n  ".join(problems))
        views = [view for subject in self.planned.subjects for view in self.planned.views_of(subject)]
        if any(view.needs_sample for view in views):
            fewest = max((view.dim for view in views if view.method in ("pca", "svd")), default=1)
            if len(self.sample().texts) <= fewest:
                raise DataError(
                    f"sample: {len(self.sample().texts)} different texts give no {fewest} components (pca and svd are "
                    f"scored at full width too); give a sample of more than {fewest} texts, or leave them out"
                )

    def sample(self) -> Sample:
        """The texts of the suite's sample, read once."""
        if self._sample is None:
            self._sample = read_sample(self.planned.suite)
        return self._sample

    def score(self) -> None:
        """Every task for every model. One that fails does not stop the others; a full disk (`RunError`) does."""
        for number, task in enumerate(self.planned.tasks, start=1):
            for subject in self.planned.subjects:
                title = f"[{number}/{len(self.planned.tasks)}] {task.name} · {subject.label}"
                try:
                    found = self._kept.finished(task, subject)
                    stage = Stage(subject.label, task.name, note="scored before")
                    if found is None:
                        with Progress(title, "texts", shown=not self.console.quiet, leave=False) as bar:
                            if isinstance(task, PlannedTask):
                                found, stage = self._by_view(task, subject, bar.reached)
                            else:
                                found, stage = self._by_dim(task, subject, bar.reached)
                except Exception as error:  # one task's trouble must not cost the others
                    self._require_space(error)
                    self._fail(subject, task, _reason(error), error if _is_bug(error) else None)
                    continue
                self.rows += sorted(found, key=lambda row: row.dim)
                self.stages.append(stage)
                self._say(str(stage))
                if self._searches is not None and isinstance(task, PlannedTask):
                    self._search(task, subject, title, self._searches)
            self._data.pop(task, None)

    def _is_done(self, task: Task, subject: Subject) -> bool:
        if self._searches is not None and isinstance(task, PlannedTask):
            if self._searches.finished(task, subject) is None:
                return False
        return self._kept.finished(task, subject) is not None

    def _search(self, task: PlannedTask, subject: Subject, title: str, searches: "Searches") -> None:
        """The task's documents searched by plans; trouble there does not cost its scores."""
        try:
            rows = searches.finished(task, subject)
            if rows is None:
                started = perf_counter()
                with Progress(f"{title} · search", "texts", shown=not self.console.quiet, leave=False) as bar:
                    scorer = self._scorer(task, subject, bar.reached)
                    rows = searches.rows(task, subject, scorer, self._say)
                took = f"{perf_counter() - started:.1f} s"
                self._say(f"{task.name} · {subject.label}: searched in {len(rows)} ways, {took}")
            self.searched += rows
        except Exception as error:
            self._require_space(error)
            self._fail(subject, task, f"search: {_reason(error)}", error if _is_bug(error) else None)

    def _by_dim(self, task: PlannedText, subject: Subject, on_progress: OnProgress) -> tuple[list[Row], Stage]:
        model = self._opened("masked", subject, lambda: masked.open_masked_lm(subject, self.settings.device))
        rows, stage = masked.score_masked(
            task,
            subject,
            model,
            texts=self._data_of(task),
            dims=self.planned.dims_of(subject),
            settings=self.settings,
            on_progress=on_progress,
        )
        self._kept.append(rows)
        return rows, stage

    def _by_view(self, task: PlannedTask, subject: Subject, on_progress: OnProgress) -> tuple[list[Row], Stage]:
        started = perf_counter()
        scorer = self._scorer(task, subject, on_progress)
        rows: list[Row] = []
        reused = 0
        trouble: dict[str, list[str]] = {}
        views = self.planned.views_for(task, subject)
        for view in views:
            before = self._kept.before(task, subject, view)
            if before is not None:
                rows += before
                reused += 1
                continue
            try:
                new = scorer.rows(view)
            except (MtextError, ArithmeticError, ValueError) as error:
                # What fails at one view need not at the next; at the first, the model or the data are at fault.
                if isinstance(error, RunError) or not rows or _is_bug(error):
                    raise
                trouble.setdefault(_reason(error), []).append(str(view))
                continue
            self._kept.append(new)
            rows += new
        for reason, failed in trouble.items():
            self._fail(subject, task, f"at {', '.join(failed)}: {reason}")
        counts = scorer.reader.counts
        return rows, Stage(
            subject.label,
            task.name,
            load=self._loading.pop(task, 0.0),
            encode=counts.seconds,
            score=perf_counter() - started - counts.seconds,
            encoded=counts.encoded,
            found=counts.found,
            note=f"{reused} of {len(views)} scored before" if reused else "",
        )

    def _scorer(self, task: PlannedTask, subject: Subject, on_progress: OnProgress) -> "Scorer":
        from matryoshka_text.evaluation.scoring.score import Scorer

        return Scorer(
            task,
            self._data_of(task),
            subject,
            self._opened("encoder", subject, lambda: subject.encoder(self.settings.device)),
            settings=self.settings,
            sample=self.sample,
            fit=self.planned.fit_of(subject),
            given=self.planned.rotation,
            say=self._say,
            on_progress=on_progress,
        )

    def _data_of(self, task: Task) -> Any:
        """The task's data, loaded once and let go of when the task is done."""
        if task not in self._data:
            started = perf_counter()
            self._data[task] = _load(task)
            self._loading[task] = perf_counter() - started
        return self._data[task]

    def _opened(self, kind: str, subject: Subject, open_model: Callable[[], Any]) -> Any:
        """The opened model; the one opened first is let go if there are too many."""
        place = (kind, subject.weights, None if kind == "encoder" else subject.layers)
        if place not in self._models:
            while len(self._models) >= _OPEN:
                del self._models[next(iter(self._models))]
            self._models[place] = open_model()
        return self._models[place]

    def _require_space(self, error: Exception) -> None:
        """`RunError` if the disk is full, which no other task would survive either."""
        if isinstance(error, RunError):
            what = str(error)
        elif isinstance(error, OSError) and error.errno in DISK_FULL:
            place = error.filename or self.settings.out
            what = f"{place}: the disk is full ({error.strerror}); what was scored before is kept: free some space"
            what += " and run the same command again"
        else:
            return
        before = ["failed before that:", *(f"  {one}" for one in self.failures)] if self.failures else []
        raise RunError("\n".join([what, *before])) from error

    def _fail(self, subject: Subject, task: Task, reason: str, bug: Exception | None = None) -> None:
        self.failures.append(Failure(subject.label, task.name, reason, bug))
        self._say(f"FAILED {self.failures[-1]}")

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _searches(planned: Plan, settings: Settings) -> "Searches | None":
    if not planned.search:
        return None
    from matryoshka_text.evaluation.searching.searches import Searches

    return Searches(planned, settings)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, MtextError) else f"{type(error).__name__}: {error}"


def _is_bug(error: Exception) -> bool:
    """Whether the user can do nothing about it: not a message of ours, a full or broken disk or memory, or numbers
    that a library finds it cannot score.
    """
    if isinstance(error, MtextError | OSError | MemoryError | torch.OutOfMemoryError):
        return False
    raised_by_us = extract_tb(error.__traceback__)[-1].filename.startswith(_PACKAGE)
    return raised_by_us or not isinstance(error, ArithmeticError | ValueError)


def _load(task: Task) -> Any:
    if isinstance(task, PlannedText):
        return read_texts(task.file)
    from matryoshka_text.evaluation.scoring.score import load_task

    return load_task(task)


def _unloadable(task: Task, error: Exception) -> str:
    from matryoshka_text.evaluation.tasks.unloadable import unloadable

    return unloadable(task, error)
