"""`mtext eval`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from matryoshka_text.cli.numbers import numbers
from matryoshka_text.cli.options import RemoteCode
from matryoshka_text.errors import ModelError, RecipeError

if TYPE_CHECKING:
    from matryoshka_text.encoder.dtype import Dtype
    from matryoshka_text.evaluation.plan import Plan, PlannedTask, PlannedText

__all__ = ["evaluate"]

Word = TypeVar("Word", bound=str)


_Model = Annotated[str | None, typer.Argument(help="A run, a saved model's folder, or a Hub id.", show_default=False)]
_Suite = Annotated[
    str | None, typer.Option(help="A bundled suite, a .yaml file, or a benchmark of mteb. Default: quick.")
]
_Task = Annotated[
    list[str] | None,
    typer.Option(help="A task of mteb, or your own data as KIND:NAME, such as clustering:tickets. Repeatable."),
]
_Dims = Annotated[
    str | None, typer.Option(help="Prefix lengths, trained or not: 12,24,100. Default: the suite's or the model's.")
]
_DataRoot = Annotated[Path | None, typer.Option(help="Folder with mteb/ and extra/. Default: $MTEXT_DATA_ROOT.")]
_Against = Annotated[list[str] | None, typer.Option(help="Another model, cut the same way. Repeatable.")]
_Twins = Annotated[bool, typer.Option("--twins", help="Also score the run's own twins, plain and FF.")]
_Baselines = Annotated[
    str | None, typer.Option(help="Other ways to shorten the --against models: random,pca,svd,projection,rotation.")
]
_Rotation = Annotated[
    Path | None, typer.Option(help="Also score MODEL's vectors rotated by this file of `mtext rotate`.")
]
_Precision = Annotated[str | None, typer.Option(help="Storage of the vectors: float32,int8,binary.")]
_Layers = Annotated[str | None, typer.Option(help="Run only the first layers, once for each number: 2,4,6.")]
_Sample = Annotated[
    Path | None, typer.Option(help="Texts (.txt, one a line) to fit pca, svd and int8 on. Default: bundled.")
]
_RawPrefix = Annotated[
    bool,
    typer.Option("--raw-prefix", help="Leave prefixes as they are, as mteb does. Default: bring them to length 1."),
]
_Search = Annotated[
    bool,
    typer.Option("--search", help="Also search retrieval tasks by short prefixes: quality against work and time."),
]
_Dtype = Annotated[
    str, typer.Option(help="Arithmetic of the encoding: float32, bf16, or auto (bf16 if the hardware has it).")
]
_Submission = Annotated[
    Path | None, typer.Option(help="Also lay out and check a leaderboard submission here. Implies --raw-prefix.")
]
_Published = Annotated[str | None, typer.Option(help="With --submission: org/name@commit of the model on the Hub.")]
_Out = Annotated[Path | None, typer.Option(help="Folder for the results. Default: eval-<model>.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show tasks, data, models and dims. Run nothing.")]


def evaluate(
    model: _Model = None,
    suite: _Suite = None,
    task: _Task = None,
    dims: _Dims = None,
    data_root: _DataRoot = None,
    against: _Against = None,
    twins: _Twins = False,
    baselines: _Baselines = None,
    rotation: _Rotation = None,
    precision: _Precision = None,
    layers: _Layers = None,
    sample: _Sample = None,
    raw_prefix: _RawPrefix = False,
    search: _Search = False,
    dtype: _Dtype = "float32",
    submission: _Submission = None,
    published: _Published = None,
    trust_remote_code: RemoteCode = False,
    out: _Out = None,
    dry_run: _DryRun = False,
) -> None:
    """Score MODEL on a suite at every dim, each text encoded once, next to other models cut the same way."""
    if model is None and not dry_run:
        raise ModelError("no model given: mtext eval MODEL, where MODEL is a run, a saved model's folder or a hub id")
    from matryoshka_text.evaluation.plan import plan_evaluation
    from matryoshka_text.evaluation.tasks.names import open_suite, suite_of
    from matryoshka_text.evaluation.tasks.planned import with_tasks
    from matryoshka_text.vectors.views import BASELINES, PRECISIONS

    planned = plan_evaluation(
        model,
        suite_of(task) if task and suite is None else with_tasks(open_suite(suite or "quick"), task or ()),
        dims=numbers(dims, "--dims"),
        data_root=data_root,
        against=against or (),
        twins=twins,
        layers=numbers(layers, "--layers"),
        precisions=_words(precision, "--precision", PRECISIONS),
        baselines=_words(baselines, "--baselines", BASELINES),
        sample=sample,
        raw_prefix=raw_prefix or submission is not None,
        rotation=rotation,
        search=search,
        trust_remote_code=trust_remote_code,
    )
    _require_used(planned, sample, published if submission is None else None, baselines or "")
    arithmetic = _arithmetic(dtype)
    if submission is not None:
        _require_submittable(planned, submission, published, dtype=arithmetic)
    if dry_run:
        _show(planned)
    else:
        _run(planned, out, dtype=arithmetic, submission=submission, published=published)


def _require_submittable(planned: "Plan", submission: Path, published: str | None, *, dtype: "Dtype") -> None:
    from matryoshka_text.publishing.write import require_submittable

    if dtype != "float32":
        raise RecipeError(f"--submission: found --dtype {dtype}; allowed: float32, as others run it; leave --dtype out")
    require_submittable(planned, submission, published=published)


def _run(planned: "Plan", out: Path | None, *, dtype: "Dtype", submission: Path | None, published: str | None) -> None:
    """The plan carried out, its tables on stdout, its files in `out`, and the submission laid out."""
    from rich.console import Console

    from matryoshka_text.evaluation.harness import run_plan
    from matryoshka_text.evaluation.report.write import print_tables
    from matryoshka_text.evaluation.tasks.planned import MASKED_TEXT

    evaluation = run_plan(planned, out=out, dtype=dtype, measure_search=True, progress=True)
    print_tables(evaluation.tables(), Console())
    if evaluation.rows:
        files = "report.html, results.md, table.txt, curve.png, curve.svg, rows.jsonl"
        of_mteb = ", results/ (mteb's layout)" if any(row.type != MASKED_TEXT for row in evaluation.rows) else ""
        of_search = ", search.jsonl, search.md, search.png, search.svg" if evaluation.searched else ""
        typer.echo(f"written to {evaluation.out}: {files}{of_search}{of_mteb}")
    evaluation.require_success()
    if submission is not None:
        from matryoshka_text.publishing.write import write_submission

        typer.echo(
            write_submission(submission, out=evaluation.out, plan=planned, rows=evaluation.rows, published=published)
        )


def _require_used(planned: "Plan", sample: Path | None, published: str | None, baselines: str) -> None:
    """`RecipeError` for an option that nothing would read."""
    fitted = [view for subject in planned.subjects for view in planned.views_of(subject) if view.needs_sample]
    if sample is not None and planned.subjects and not fitted:
        raise RecipeError("--sample: nothing is fitted on it; add --baselines pca (or svd) or --precision int8")
    if "rotation" in baselines.split(",") and not _with_corpus(planned):
        raise RecipeError(
            "--baselines: rotation is fitted on a task's own documents, and no task of the suite has a corpus; add a "
            "retrieval, reranking or clustering task, or leave it out"
        )
    if published is not None:
        raise RecipeError("--published: says where a submission's model is; add --submission DIR")


def _with_corpus(planned: "Plan") -> list[str]:
    """The tasks on whose documents a rotation can be fitted."""
    from matryoshka_text.evaluation.plan import PlannedTask

    return [task.name for task in planned.tasks if isinstance(task, PlannedTask) and task.has_corpus]


def _arithmetic(given: str) -> "Dtype":
    from matryoshka_text.encoder.dtype import checked_dtype

    try:
        return checked_dtype(given)
    except ValueError as error:
        raise RecipeError(f"--dtype: {error}") from error


def _words(given: str | None, option: str, allowed: Sequence[Word]) -> tuple[Word, ...] | None:
    if given is None:
        return None
    found = [next((word for word in allowed if word == part.strip()), None) for part in given.split(",")]
    if None in found:
        raise RecipeError(f"{option}: found {given!r}; allowed: {', '.join(allowed)}, with commas between them")
    return tuple(dict.fromkeys(word for word in found if word is not None))


def _show(planned: "Plan") -> None:
    """What would be run, on stdout."""
    from matryoshka_text.evaluation.plan import PlannedTask
    from matryoshka_text.evaluation.tasks.hub import offline_note

    count = len(planned.tasks)
    typer.echo(f"suite {planned.suite.name}: {count} task{'' if count == 1 else 's'}")
    for task in planned.tasks:
        typer.echo(f"  {_task_line(task)}")
    of_hub = [task.name for task in planned.tasks if isinstance(task, PlannedTask) and task.folder is None]
    if note := offline_note(planned.suite, of_hub):
        typer.echo(note)
    for subject in planned.subjects:
        typer.echo(f"model {subject.name}: {subject.path} (from {subject.origin}, sha256 {subject.weights[:12]})")
        layers = f"; the first {subject.layers} layers" if subject.layers else ""
        typer.echo(f"  dims {', '.join(map(str, planned.dims_of(subject)))}{layers}")
    for line in _further(planned):
        typer.echo(line)
    if not planned.subjects:
        typer.echo("no model given: dims are taken from --dims, the suite or the model")


def _further(planned: "Plan") -> Iterator[str]:
    """What is scored next to the first coordinates in float32, and on which sample it is fitted."""
    from matryoshka_text.evaluation.tasks.sample import read_sample

    suite = planned.suite
    yield "prefixes are " + ("brought back to length 1" if suite.normalize else "left as they are")
    if suite.precisions != ("float32",):
        yield f"precisions {', '.join(suite.precisions)}"
    if suite.baselines:
        whose = ", ".join(subject.label for subject in planned.reduced) or "the model"
        yield f"baselines of {whose}: {', '.join(suite.baselines)}; {suite.draws} draws of what is drawn"
    if "rotation" in suite.baselines:
        on = ", ".join(_with_corpus(planned))
        yield f"rotation: fitted on each task's own documents: {on or 'none of the tasks has a corpus'}"
    if planned.rotation is not None:
        matrix = f"width {planned.rotation.rotation.width}, sha256 {planned.rotation.digest[:12]}"
        yield f"rotation given: {planned.rotation.name} ({matrix}), applied to {planned.subjects[0].label}"
    if planned.search:
        yield f"search by prefixes: {', '.join(task.name for task in planned.searched)}"
    if any(view.needs_sample for subject in planned.subjects for view in planned.views_of(subject)):
        yield f"sample: {read_sample(suite)}"
    if suite.prompts:
        yield "prompts " + ", ".join(f"{place}: {text!r}" for place, text in suite.prompts.items())


def _task_line(task: "PlannedTask | PlannedText") -> str:
    from matryoshka_text.evaluation.plan import PlannedText

    if isinstance(task, PlannedText):
        masking = f"{100 * task.share:g}% masked in sequences of {task.max_length} tokens, seed {task.seed}"
        most = "dims up to the decoder's width"
        return (
            f"{task.name}: {task.type}, {task.metric}, {masking}; {most}; data: {task.file} (sha256 {task.data[:12]})"
        )
    split = f", split {task.split}" if task.split else ""
    of_folder = task.data if task.official else f"sha256 {task.data[:12]}"
    place = f"{task.folder} ({of_folder})" if task.folder else f"the hub, {task.data}"
    return f"{task.name}: {task.type}, {task.metric}{split}; data: {place}"
