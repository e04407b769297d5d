"""A plan carried out: tasks outside, models and views inside, and nothing done that was done before."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.console import Console

from matryoshka_text.errors import DataError, MtextError, RunError
from matryoshka_text.evaluation.plan import Plan, PlannedTask, PlannedText
from matryoshka_text.evaluation.progress import progress_bar
from matryoshka_text.evaluation.scoring import masked
from matryoshka_text.evaluation.scoring.items import items_path
from matryoshka_text.evaluation.stage import Settings, Stage
from matryoshka_text.evaluation.subject import Subject
from matryoshka_text.evaluation.tasks.sample import Sample, read_sample
from matryoshka_text.evaluation.vectors.turn import Turns
from matryoshka_text.evaluation.vectors.view import View
from matryoshka_text.reading import read_texts
from matryoshka_text.rows import Row, append_rows, read_rows
from matryoshka_text.vectors.reader import DISK_FULL

if TYPE_CHECKING:
    from matryoshka_text.evaluation.scoring.score import Scorer
    from matryoshka_text.evaluation.tasks.loaded import LoadedTask

__all__ = ["Execution", "Failure"]

log = logging.getLogger(__name__)

# Opened models that are kept: those of a comparison of two need not be opened for every task.
_OPEN = 2


@dataclass(frozen=True)
class Failure:
    """A task that could not be scored for a model, and why."""

    model: str
    task: str
    reason: str

    def __str__(self) -> str:
        return f"{self.task} · {self.model}: {self.reason}"


class Execution:
    """The rows of a plan: those that `known` has are taken, the others are made and written as they come.

    `rows`, `failures` and `stages` fill while `run` goes on.
    """

    def __init__(self, planned: Plan, settings: Settings, known: Sequence[Row], console: Console) -> None:
        self.planned, self.settings, self.console = planned, settings, console
        self.rows: list[Row] = []
        self.failures: list[Failure] = []
        self.stages: list[Stage] = []
        self._known = {_cell(row): row for row in known}
        self._seen = _stamp(settings.out / "rows.jsonl")
        self._models: dict[tuple[str, str, int | None], Any] = {}
        self._sample: Sample | None = None

    def check(self) -> None:
        """Every unfinished task's data loaded once: nothing is encoded before all of it is known to be readable.

        `DataError` with all that cannot be read; the sample too, where one is needed.
        """
        problems = []
        for task in self.planned.tasks:
            if all(self._finished(task, subject) is not None for subject in self.planned.subjects):
                continue
            try:
                _load(task)
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

    def run(self) -> None:
        """Every task for every model. One that fails does not stop the others; a full disk (`RunError`) does."""
        for number, task in enumerate(self.planned.tasks, start=1):
            # Let go of with the task: never the data of two in memory.
            load: Callable[[], Any] = cache(lambda task=task: _load(task))
            for subject in self.planned.subjects:
                title = f"[{number}/{len(self.planned.tasks)}] {task.name} · {subject.label}"
                self._one(task, subject, load, title)

    def _one(self, task: PlannedTask | PlannedText, subject: Subject, load: Callable[[], Any], title: str) -> None:
        found = self._finished(task, subject)
        try:
            if found is not None:
                stage = Stage(subject.label, task.name, 0.0, 0.0, 0.0, 0, 0, "scored before")
            else:
                with progress_bar(self.console, title) as on_progress:
                    found, stage = self._scored(task, subject, load, on_progress)
        except Exception as error:  # one task's trouble must not cost the others
            if isinstance(error, RunError):
                raise RunError("\n".join([str(error), *self._failed_before()])) from error
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                place = error.filename or self.settings.out
                what = f"{place}: the disk is full ({error.strerror}); what was scored before is kept: free some space"
                what += " and run the same command again"
                raise RunError("\n".join([what, *self._failed_before()])) from error
            log.debug("%s · %s failed", task.name, subject.label, exc_info=True)
            self._fail(subject, task, _reason(error))
            return
        self.rows += sorted(found, key=lambda row: row.dim)
        self.stages.append(stage)
        self._say(str(stage))

    def _scored(
        self,
        task: PlannedTask | PlannedText,
        subject: Subject,
        load: Callable[[], Any],
        on_progress: Callable[[int, int], None],
    ) -> tuple[list[Row], Stage]:
        if isinstance(task, PlannedText):
            model = self._opened("masked", subject, lambda: masked.open_masked_lm(subject, self.settings.device))
            rows, stage = masked.score_masked(
                task, subject, model, self.planned.dims_of(subject), self.settings, on_progress
            )
            self._append(rows)
            return rows, stage
        return self._by_view(task, subject, load, on_progress)

    def _by_view(
        self, task: PlannedTask, subject: Subject, load: Callable[[], Any], on_progress: Callable[[int, int], None]
    ) -> tuple[list[Row], Stage]:
        started = perf_counter()
        loaded: LoadedTask = load()
        loading = perf_counter() - started
        scorer = self._scorer(task, loaded, subject, on_progress)
        rows: list[Row] = []
        reused = 0
        trouble: dict[str, list[str]] = {}
        views = self.planned.views_for(task, subject)
        for view in views:
            before = self._before(task, subject, view)
            if before is not None:
                rows += before
                reused += 1
                continue
            try:
                new = scorer.rows(view)
            except (MtextError, ArithmeticError, ValueError) as error:
                # What fails at one view need not at the next; at the first, the model or the data are at fault.
                if isinstance(error, RunError) or not rows:
                    raise
                trouble.setdefault(_reason(error), []).append(str(view))
                continue
            self._append(new)
            rows += new
        for reason, failed in trouble.items():
            self._fail(subject, task, f"at {', '.join(failed)}: {reason}")
        counts, total = scorer.reader.counts, perf_counter() - started
        note = f"{reused} of {len(views)} scored before" if reused else ""
        scoring = total - loading - counts.seconds
        return rows, Stage(
            subject.label, task.name, loading, counts.seconds, scoring, counts.encoded, counts.found, note
        )

    def _scorer(
        self, task: PlannedTask, loaded: "LoadedTask", subject: Subject, on_progress: Callable[[int, int], None]
    ) -> "Scorer":
        from matryoshka_text.evaluation.scoring.score import Scorer

        encoder = self._opened("encoder", subject, lambda: subject.encoder(self.settings.device))
        turns = Turns(self.planned.fit_of(subject), self.planned.rotation, self._say)
        return Scorer(task, loaded, subject, encoder, self.settings, self.sample, on_progress, turns)

    def _finished(self, task: PlannedTask | PlannedText, subject: Subject) -> list[Row] | None:
        """The rows of an earlier run, where it has all of them."""
        if isinstance(task, PlannedText):
            return self._finished_text(task, subject)
        rows: list[Row] = []
        for view in self.planned.views_for(task, subject):
            before = self._before(task, subject, view)
            if before is None:
                return None
            rows += before
        return rows

    def _before(self, task: PlannedTask, subject: Subject, view: View) -> list[Row] | None:
        """The view's rows of an earlier run: same weights, data and settings, and mteb's file agrees."""
        from matryoshka_text.evaluation.scoring.results import holds, result_path

        self._reread()
        settings = self.settings.digest(self.sample if view.needs_sample else None, view.rotation)
        how = (view.dim, view.method, view.seed, view.precision, self.settings.normalize, settings)
        what = (subject.name, subject.weights, subject.layers, task.name, task.data)
        found = [self._known.get((*what, split, *how)) for split in _splits(task)]
        marks = self.settings.marks(self.sample if view.needs_sample else None)
        path = result_path(self.settings.out, subject, view, task.name, normalize=self.settings.normalize, marks=marks)
        rows = [row for row in found if row is not None]
        if not rows or len(rows) < len(found) or not holds(path, {row.split: row.score for row in rows}):
            return None
        without_items = (row.interval is not None and not items_path(self.settings.out, row).is_file() for row in rows)
        return None if any(without_items) else rows

    def _finished_text(self, task: PlannedText, subject: Subject) -> list[Row] | None:
        known = [
            row
            for row in self._known.values()
            if (row.model, row.weights, row.layers) == (subject.name, subject.weights, subject.layers)
            and (row.task, row.data, row.settings) == (task.name, task.data, self.settings.digest())
        ]
        if not known:
            return None
        dims = masked.within_decoder(self.planned.dims_of(subject), known[0].width, subject)
        rows = [row for row in known if row.dim in dims]
        return rows if len(rows) == len(dims) else None

    def _opened(self, kind: str, subject: Subject, open_model: Callable[[], Any]) -> Any:
        """The opened model; the one opened first is let go where there are too many."""
        place = (kind, subject.weights, None if kind == "encoder" else subject.layers)
        if place not in self._models:
            while len(self._models) >= _OPEN:
                del self._models[next(iter(self._models))]
            self._models[place] = open_model()
        return self._models[place]

    def _append(self, rows: Sequence[Row]) -> None:
        file = self.settings.out / "rows.jsonl"
        alone = self._seen == _stamp(file)
        append_rows(file, rows)
        self._known |= {_cell(row): row for row in rows}
        # Where another program has added rows too, the next look reads them.
        self._seen = _stamp(file) if alone else None

    def _reread(self) -> None:
        """Take in the rows that another program has added since."""
        file = self.settings.out / "rows.jsonl"
        if self._seen != (now := _stamp(file)):
            self._known |= {_cell(row): row for row in read_rows(file)}
            self._seen = now

    def _fail(self, subject: Subject, task: PlannedTask | PlannedText, reason: str) -> None:
        self.failures.append(Failure(subject.label, task.name, reason))
        self._say(f"FAILED {self.failures[-1]}")

    def _failed_before(self) -> list[str]:
        return ["failed before that:", *(f"  {one}" for one in self.failures)] if self.failures else []

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


@cache
def _splits(task: PlannedTask) -> tuple[str, ...]:
    return tuple(task.make().eval_splits)


def _stamp(file: Path) -> tuple[int, int] | None:
    """What changes when the file does."""
    found = file.stat() if file.exists() else None
    return None if found is None else (found.st_mtime_ns, found.st_ino)


def _cell(row: Row) -> tuple[object, ...]:
    what = (row.model, row.weights, row.layers, row.task, row.data, row.split)
    return (*what, row.dim, row.method, row.seed, row.precision, row.normalize, row.settings)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, MtextError) else f"{type(error).__name__}: {error}"


def _load(task: PlannedTask | PlannedText) -> Any:
    if isinstance(task, PlannedText):
        return read_texts(task.file)
    from matryoshka_text.evaluation.scoring.score import load_task

    return load_task(task)


def _unloadable(task: PlannedTask | PlannedText, error: Exception) -> str:
    from matryoshka_text.evaluation.tasks.unloadable import unloadable

    return unloadable(task, error)
