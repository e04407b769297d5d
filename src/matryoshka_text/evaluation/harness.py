"""`evaluate`: models on a suite, from the plan to tables, rows and the curve."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from matryoshka_text.errors import DataError, EvaluationError, MtextError, RunError
from matryoshka_text.evaluation import masked
from matryoshka_text.evaluation.plan import Plan, PlannedTask, PlannedText, plan
from matryoshka_text.evaluation.report import write_report
from matryoshka_text.evaluation.stage import Settings, Stage
from matryoshka_text.evaluation.subject import Subject
from matryoshka_text.evaluation.tables import Table, tables
from matryoshka_text.evaluation.text import read_texts
from matryoshka_text.files import write_whole
from matryoshka_text.rows import Row, append_rows, read_rows
from matryoshka_text.suite import Suite

if TYPE_CHECKING:
    from matryoshka_text.encoder import MatryoshkaEncoder
    from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM

__all__ = ["STORE", "Evaluation", "Failure", "evaluate", "run_plan"]

log = logging.getLogger(__name__)

STORE = "MTEXT_VECTOR_STORE"


@dataclass(frozen=True)
class Failure:
    """A task that could not be scored for a model, and why."""

    model: str
    task: str
    reason: str

    def __str__(self) -> str:
        return f"{self.task} · {self.model}: {self.reason}"


@dataclass(frozen=True)
class Evaluation:
    """What came out: one row per model, task, split and dim, what failed, what it cost, and where the files are."""

    plan: Plan
    out: Path
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()
    stages: tuple[Stage, ...] = field(default=())

    def score(self, task: str, dim: int, *, model: str | None = None, split: str | None = None) -> float:
        """The main score x 100; `model` is a label, org/name, "plain" or "FF" (None: the evaluated one). KeyError
        where there is none.
        """
        wanted = model or self.plan.subjects[0].label
        columns = [one.members for one in self.plan.columns if one.label == wanted]
        members = columns[0] if columns else [one for one in self.plan.subjects if wanted in (one.label, one.name)]
        weights = {one.weights for one in members if dim in self.plan.dims_of(one)}
        for row in self.rows:
            if row.weights in weights and row.task == task and row.dim == dim and split in (None, row.split):
                return row.score
        raise KeyError(f"no score of {wanted} on {task} at {dim} dims")

    def tables(self) -> list[Table]:
        """A table per task, and the mean over tasks where there are several."""
        return tables(self.plan, self.rows)

    def require_success(self) -> None:
        """`EvaluationError` that names every task that could not be scored."""
        if self.failures:
            count = len(self.plan.tasks) * len(self.plan.subjects)
            raise EvaluationError(
                f"{len(self.failures)} of {count} scorings failed; the others are in {self.out}. Failed:\n  "
                + "\n  ".join(map(str, self.failures))
            )


def evaluate(
    model: str | Path,
    suite: str | Path | Suite = "quick",
    *,
    dims: Sequence[int] | None = None,
    data_root: str | Path | None = None,
    against: Sequence[str | Path] = (),
    twins: bool = False,
    layers: int | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> Evaluation:
    """The model's scores on the suite at every dim and at full width, next to the models `against` truncated alike.

    With `twins` also next to the run's plain twin, truncated alike, and at each dim the one trained at it alone (FF).
    With `layers` every model runs its first so many transformer layers alone.
    Each text is encoded once and kept under <out>/vectors (or the folder in MTEXT_VECTOR_STORE). Files written to `out`
    (None: eval-<model>): results/ in mteb's layout, rows.jsonl, results.md, table.txt, curve.png. A task that fails
    does not stop the others: see `failures`. `MtextError` for everything that can be known before encoding.
    """
    return run_plan(
        plan(model, suite, dims=dims, data_root=data_root, against=against, twins=twins, layers=layers),
        out=out,
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


def run_plan(
    planned: Plan,
    *,
    out: str | Path | None = None,
    device: str | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> Evaluation:
    """The plan carried out; see `evaluate`."""
    if not planned.subjects:
        raise EvaluationError("no model given: name a folder or a hub id")
    folder = Path(out).expanduser() if out is not None else Path(f"eval-{planned.subjects[0].label}")
    _require_writable(folder)
    read_rows(folder / "rows.jsonl")  # somebody else's file is found before anything is encoded
    _require_data(planned)
    vectors = Path(os.environ.get(STORE) or folder / "vectors").expanduser()
    settings = Settings(folder, vectors, planned.suite.normalize, batch_size, device)
    rows, failures, stages = _scored(planned, settings, Console(stderr=True, quiet=not progress))
    evaluation = Evaluation(planned, folder, tuple(rows), tuple(failures), tuple(stages))
    if rows:
        write_report(folder, evaluation.tables(), planned, rows)
    return evaluation


def _scored(planned: Plan, settings: Settings, console: Console) -> tuple[list[Row], list[Failure], list[Stage]]:
    rows: list[Row] = []
    failures: list[Failure] = []
    stages: list[Stage] = []
    for subject in planned.subjects:
        score = _Scorer(planned, subject, settings, console)
        for task in planned.tasks:
            try:
                new, stage = score(task)
            except Exception as error:  # one task's trouble must not cost the others
                log.debug("%s · %s failed", task.name, subject.label, exc_info=True)
                failures.append(Failure(subject.label, task.name, _reason(error)))
                console.print(f"FAILED {failures[-1]}", highlight=False, markup=False, soft_wrap=True)
                continue
            append_rows(settings.out / "rows.jsonl", new)
            rows += new
            stages.append(stage)
            console.print(str(stage), highlight=False, markup=False, soft_wrap=True)
    return rows, failures, stages


class _Scorer:
    """One model's rows on task after task; the model is opened at the first and let go with this object."""

    def __init__(self, planned: Plan, subject: Subject, settings: Settings, console: Console) -> None:
        self.planned, self.subject, self.settings, self.console = planned, subject, settings, console
        self.encoder: MatryoshkaEncoder | None = None
        self.masked: MatryoshkaMaskedLM | None = None

    def __call__(self, task: PlannedTask | PlannedText) -> tuple[list[Row], Stage]:
        dims = self.planned.dims_of(self.subject)
        with _bar(self.console, f"{task.name} · {self.subject.label}") as on_progress:
            if isinstance(task, PlannedText):
                return self._masked(task, dims, on_progress)
            from matryoshka_text.evaluation.score import score_task

            self.encoder = self.encoder or self.subject.encoder(self.settings.device)
            return score_task(task, self.subject, self.encoder, dims, self.settings, on_progress)

    def _masked(
        self, task: PlannedText, dims: Sequence[int], on_progress: Callable[[int, int], None]
    ) -> tuple[list[Row], Stage]:
        self.masked = self.masked or masked.open_masked_lm(self.subject, self.settings.device)
        return masked.score_masked(task, self.subject, self.masked, dims, self.settings, on_progress)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, MtextError) else f"{type(error).__name__}: {error}"


@contextmanager
def _bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over the texts to encode, shown where a person looks at a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = console.is_terminal and not console.quiet
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        bar = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _require_writable(folder: Path) -> None:
    probe = folder / ".writable"
    try:
        write_whole(probe, "")
        probe.unlink()
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error}); give another folder with --out") from error


def _require_data(planned: Plan) -> None:
    """Every task's data loaded once, so that nothing is encoded before all of it is known to be there and readable."""
    problems = []
    for task in planned.tasks:
        try:
            _load(task)
        except DataError as error:
            problems.append(str(error))
        except Exception as error:  # whatever `datasets` and the hub raise: the task has no data
            problems.append(_unloadable(task, error))
    if problems:
        raise DataError("nothing was encoded, because data cannot be read:\n  " + "\n  ".join(problems))


def _load(task: PlannedTask | PlannedText) -> None:
    if isinstance(task, PlannedText):
        read_texts(task.file)
        return
    from matryoshka_text.evaluation.score import load_task

    load_task(task)


def _unloadable(task: PlannedTask | PlannedText, error: Exception) -> str:
    place = task.file if isinstance(task, PlannedText) else task.folder
    way_out = "" if place else "; without the hub give local folders with --data-root"
    return f"{task.name}: {place or task.data} cannot be loaded ({type(error).__name__}: {error}){way_out}"
