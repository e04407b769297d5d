"""`evaluate`: models on a suite, from the plan to tables, rows and the curve."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console
from sentence_transformers.util import get_device_name

from matryoshka_text.encoder.dtype import Dtype, choose_dtype
from matryoshka_text.errors import EvaluationError, RunError
from matryoshka_text.evaluation.plan import Plan, plan_evaluation
from matryoshka_text.evaluation.report.cost import costs
from matryoshka_text.evaluation.report.tables import Table, tables
from matryoshka_text.evaluation.report.write import write_report
from matryoshka_text.evaluation.run import Failure, Run
from matryoshka_text.evaluation.scoring.compare import Comparisons
from matryoshka_text.evaluation.searching.rows import SearchRow
from matryoshka_text.evaluation.settings import Settings, Stage
from matryoshka_text.evaluation.tasks.planned import MASKED_TEXT
from matryoshka_text.files import expanded, sweep_shared
from matryoshka_text.rotation import Rotation
from matryoshka_text.rows import Method, Precision, Row, read_rows
from matryoshka_text.suite import Suite

__all__ = ["STORE", "Evaluation", "Failure", "evaluate", "run_plan"]

STORE = "MTEXT_VECTOR_STORE"


@dataclass(frozen=True)
class Evaluation:
    """What came out: one row per model, task, split and dim, what failed, ways of searching, costs, where files are."""

    plan: Plan
    out: Path
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()
    searched: tuple[SearchRow, ...] = ()
    stages: tuple[Stage, ...] = field(default=())

    def score(self, task: str, dim: int, *, model: str | None = None, split: str | None = None) -> float:
        """The main score x 100; `model` is a column's label, org/name, "plain" or "FF" (None: the evaluated one), and
        of a method that draws the mean over its draws. KeyError if there is none.
        """
        columns = self.plan.columns
        wanted = model or columns[0].label
        column = next((one for one in columns if wanted in (one.label, one.members[0].name)), None)
        found = [row for row in self.rows if (row.task, row.dim) == (task, dim) and split in (None, row.split)]
        draws = [row.score for row in found if column and column.holds(row) and row.split == found[0].split]
        if draws:
            return fmean(draws)
        raise KeyError(f"no score of {wanted} on {task} at {dim} dims")

    def tables(self) -> list[Table]:
        """A table per task, and the mean over tasks where there are several; with what is known of differences."""
        return tables(self.plan, self.rows, self._compare)

    @cached_property
    def _compare(self) -> Comparisons:
        return Comparisons(self.out, self.plan, self.rows)

    def require_success(self) -> None:
        """`EvaluationError` that names every task that could not be scored; a bug is raised itself, and names them."""
        if not self.failures:
            return
        count = len(self.plan.tasks) * len(self.plan.subjects)
        others = f"; the others are in {self.out}" if self.rows else ""
        said = f"{len(self.failures)} of {count} scorings failed{others}. Failed:\n  "
        said += "\n  ".join(map(str, self.failures))
        bug = next((one.bug for one in self.failures if one.bug is not None), None)
        if bug is None:
            raise EvaluationError(said)
        bug.add_note(f"{said}\nThis is a fault of the program, not of your data: please report it with these lines.")
        raise bug


def evaluate(
    model: str | Path,
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
    measure_search: bool = False,
    out: str | Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    dtype: Dtype = "float32",
    progress: bool = False,
    partial: bool = False,
) -> Evaluation:
    """Score the model on the suite at every dim and at full width, next to the models `against`, cut the same way.

    `twins`: also the run's plain twin and the models trained at one dim (FF). `layers`: run only the first N layers,
    once for each N. `precisions` (float32, int8, binary): of the vectors that are compared. `baselines` (random, pca,
    svd, projection, rotation): other ways to as many coordinates, made of the models `against`, else of the model.
    Components and ranges come from `sample` (a text file; None: bundled training texts), the baseline rotation from
    each retrieval, reranking or clustering task's own documents, never from queries or labels; its column says so.
    `rotation` (a file of `mtext rotate`, or the object): score the model's vectors turned by it too. `raw_prefix`:
    leave prefixes as they are, as mteb does. `dtype`: as in `MatryoshkaEncoder.encode`; bf16 and auto are faster, move
    scores by some hundredths of a point, and are kept apart. `trust_remote_code`: run the models' own Python code.
    `search`: also search each retrieval task's documents by plans, and measure quality, work, bytes and time of each
    (search.jsonl, search.md); extra `search`.

    Each text is encoded once and kept in <out>/vectors (or MTEXT_VECTOR_STORE). `out` (None: eval-<model>) gets
    results/ in mteb's layout, rows.jsonl, report.html, results.md, table.txt, curve.png and curve.svg. What it has
    already, for the same weights, data and settings, is not done again. `measure_search`: also time an exact search.
    `MtextError` for all that can be known before encoding. A task that fails does not stop the others: after them
    `EvaluationError` names it (a bug is raised as it is). `partial`: return what was scored instead, with `failures`.
    """
    planned = plan_evaluation(
        model,
        suite,
        dims=dims,
        data_root=data_root,
        against=against,
        twins=twins,
        layers=layers,
        precisions=precisions,
        baselines=baselines,
        sample=sample,
        raw_prefix=raw_prefix,
        rotation=rotation,
        search=search,
        trust_remote_code=trust_remote_code,
    )
    found = run_plan(
        planned,
        out=out,
        device=device,
        batch_size=batch_size,
        dtype=dtype,
        measure_search=measure_search,
        progress=progress,
    )
    if not partial:
        found.require_success()
    return found


def run_plan(
    planned: Plan,
    *,
    out: str | Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    dtype: Dtype = "float32",
    measure_search: bool = False,
    progress: bool = False,
) -> Evaluation:
    """The plan carried out as `evaluate` does it; what failed is among its `failures`."""
    if not planned.subjects:
        raise EvaluationError("no model given: name a folder or a hub id")
    folder = expanded(out) if out is not None else Path(f"eval-{planned.subjects[0].label}")
    vectors = expanded(os.environ.get(STORE) or folder / "vectors")
    _require_writable(folder, "--out")
    if os.environ.get(STORE):
        _require_writable(vectors, STORE)
    for place in (folder, vectors):
        sweep_shared(place)
    known = read_rows(folder / "rows.jsonl")  # somebody else's file is found before anything is encoded
    suite = planned.suite
    settings = Settings(
        out=folder,
        vectors=vectors,
        normalize=suite.normalize,
        batch_size=batch_size,
        device=device,
        prompts=suite.prompts,
        seed=suite.seed,
        dtype=choose_dtype(dtype, torch.device(device or get_device_name())),
    )
    run = Run(planned, settings, known, Console(stderr=True, quiet=not progress))
    run.load()
    run.score()
    rows = run.rows
    evaluation = Evaluation(
        planned,
        folder,
        tuple(rows),
        failures=tuple(run.failures),
        searched=tuple(run.searched),
        stages=tuple(run.stages),
    )
    if rows:
        dims, of_mteb = planned.dims_of(planned.subjects[0]), any(row.type != MASKED_TEXT for row in rows)
        measured = costs(dims, suite.precisions, measure=measure_search) if of_mteb else None
        failed = [str(one) for one in run.failures]
        write_report(folder, evaluation.tables(), planned, rows, failures=failed, costs=measured, searched=run.searched)
    return evaluation


def _require_writable(folder: Path, given_by: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error}); give another folder with {given_by}") from error
