"""`mtext train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matryoshka_text.cli.quietly import quietly
from matryoshka_text.errors import RecipeError

if TYPE_CHECKING:
    from matryoshka_text.recipe import Twin

__all__ = ["train"]


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/<name>-<hash>.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint. A finished run is left as it is.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check recipe, data and model, and say what would run. Write nothing.")
    ] = False,
    twin: Annotated[
        list[str] | None,
        typer.Option(help="Also train a baseline: ff (one model for each dim) or plain (full width only). Repeatable."),
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the encoder with torch.compile: slow to start, faster on a GPU.")
    ] = False,
    attention: Annotated[
        str | None,
        typer.Option(help="Attention: sdpa, eager, flash_attention_2 (no padding), … Default: chosen by transformers."),
    ] = None,
) -> None:
    """Train RECIPE. The run's folder gets model/ (plain sentence-transformers) and all records."""
    twins = [_twin(name) for name in twin or ()]
    quietly()
    from matryoshka_text.training import train as job

    done = job(recipe, out=out, resume=resume, dry_run=dry_run, twins=twins, compile=compile, attention=attention)
    typer.echo(done.summary)


def _twin(name: str) -> "Twin":
    if name == "ff":
        return "ff"
    if name == "plain":
        return "plain"
    raise RecipeError(f"--twin: found {name!r}; allowed: ff (a model for each dim only) or plain (full width only)")
