"""`mtext eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matryoshka_text.errors import ModelError, RecipeError

if TYPE_CHECKING:
    from matryoshka_text.evaluation.plan import Plan, PlannedTask, PlannedText

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="A run, a saved model's folder, or a hub id.", show_default=False)
    ] = None,
    suite: Annotated[str, typer.Option(help="A bundled suite's name, or a .yaml file.")] = "quick",
    dims: Annotated[
        str | None, typer.Option(help="Prefix lengths: 12,24,384. Default: the suite's, the model's.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Holds mteb/ and extra/. Default: $MTEXT_DATA_ROOT.")] = None,
    against: Annotated[list[str] | None, typer.Option(help="Another model, truncated alike; may be repeated.")] = None,
    twins: Annotated[bool, typer.Option("--twins", help="Also score the run's own twins, plain and FF.")] = False,
    layers: Annotated[int | None, typer.Option(help="Run the first so many layers alone. Default: all.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results. Default: eval-<model>.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show tasks, data, models and dims; run nothing.")] = False,
) -> None:
    """Score MODEL on a suite at every dim, each text encoded once, next to other models truncated alike."""
    if model is None and not dry_run:
        raise ModelError("no model given: mtext eval MODEL, where MODEL is a run, a saved model's folder or a hub id")
    from rich.console import Console

    from matryoshka_text.evaluation.harness import run_plan
    from matryoshka_text.evaluation.plan import plan
    from matryoshka_text.evaluation.planned import MASKED_TEXT
    from matryoshka_text.evaluation.report import print_tables

    planned = plan(
        model, suite, dims=_numbers(dims), data_root=data_root, against=against or (), twins=twins, layers=layers
    )
    if dry_run:
        _show(planned)
        return
    evaluation = run_plan(planned, out=out, progress=True)
    print_tables(evaluation.tables(), Console())
    if evaluation.rows:
        files = "results.md, table.txt, curve.png, rows.jsonl"
        of_mteb = ", results/ (mteb's layout)" if any(row.type != MASKED_TEXT for row in evaluation.rows) else ""
        typer.echo(f"written to {evaluation.out}: {files}{of_mteb}")
    evaluation.require_success()


def _numbers(dims: str | None) -> tuple[int, ...] | None:
    if dims is None:
        return None
    try:
        return tuple(int(part) for part in dims.split(","))
    except ValueError:
        raise RecipeError(f"--dims: found {dims!r}; allowed: whole numbers and commas, such as 12,24,384") from None


def _show(planned: "Plan") -> None:
    """What would be run, on stdout."""
    count = len(planned.tasks)
    typer.echo(f"suite {planned.suite.name}: {count} task{'' if count == 1 else 's'}")
    for task in planned.tasks:
        typer.echo(f"  {_task_line(task)}")
    for subject in planned.subjects:
        typer.echo(f"model {subject.name}: {subject.path} (from {subject.origin}, sha256 {subject.weights[:12]})")
        layers = f"; the first {subject.layers} layers" if subject.layers else ""
        typer.echo(f"  dims {', '.join(map(str, planned.dims_of(subject)))}{layers}")
    if not planned.subjects:
        typer.echo("no model given: dims are taken from --dims, the suite or the model")


def _task_line(task: "PlannedTask | PlannedText") -> str:
    from matryoshka_text.evaluation.plan import PlannedText

    if isinstance(task, PlannedText):
        masking = f"{100 * task.share:g}% masked in sequences of {task.max_length} tokens, seed {task.seed}"
        most = "dims up to the decoder's width"
        return (
            f"{task.name}: {task.type}, {task.metric}, {masking}; {most}; data: {task.file} (sha256 {task.data[:12]})"
        )
    split = f", split {task.split}" if task.split else ""
    place = f"{task.folder} (sha256 {task.data[:12]})" if task.folder else f"the hub, {task.data}"
    return f"{task.name}: {task.type}, {task.metric}{split}; data: {place}"
