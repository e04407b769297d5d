"""`mtext eval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matryoshka_text.errors import ModelError, RecipeError

if TYPE_CHECKING:
    from matryoshka_text.evaluation import Plan

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="A saved model's folder, or a hub id.", show_default=False)
    ] = None,
    suite: Annotated[str, typer.Option(help="A bundled suite's name, or a .yaml file.")] = "quick",
    dims: Annotated[
        str | None, typer.Option(help="Prefix lengths: 12,24,384. [default: the suite's, the model's]")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Holds mteb/ and extra/. [default: $MTEXT_DATA_ROOT]")] = None,
    against: Annotated[list[str] | None, typer.Option(help="Another model, truncated alike; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results. [default: eval-<model>]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show tasks, data, models and dims; run nothing.")] = False,
) -> None:
    """Score MODEL on a suite at every dim, each text encoded once, next to other models truncated alike."""
    if model is None and not dry_run:
        raise ModelError("no model given: mtext eval MODEL, where MODEL is a saved model's folder or a hub id")
    from rich.console import Console

    from matryoshka_text.evaluation.harness import run_plan
    from matryoshka_text.evaluation.plan import plan
    from matryoshka_text.evaluation.report import print_tables

    planned = plan(model, suite, dims=_numbers(dims), data_root=data_root, against=against or ())
    if dry_run:
        _show(planned)
        return
    evaluation = run_plan(planned, out=out, progress=True)
    print_tables(evaluation.tables(), Console())
    if evaluation.rows:
        files = "results.md, table.txt, curve.png, rows.jsonl, results/ (mteb's layout)"
        typer.echo(f"written to {evaluation.out}: {files}")
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
    typer.echo(f"suite {planned.suite.name}: {len(planned.tasks)} tasks")
    for task in planned.tasks:
        split = f", split {task.split}" if task.split else ""
        place = f"{task.folder} (sha256 {task.data[:12]})" if task.folder else f"the hub, {task.data}"
        typer.echo(f"  {task.name}: {task.type}, {task.metric}{split}; data: {place}")
    for subject in planned.subjects:
        typer.echo(f"model {subject.name}: {subject.path} (from {subject.origin}, sha256 {subject.weights[:12]})")
        typer.echo(f"  dims {', '.join(map(str, planned.dims_of(subject)))}")
    if not planned.subjects:
        typer.echo("no model given: dims are taken from --dims, the suite or the model")
