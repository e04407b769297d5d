"""`mtext train`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    out: Annotated[Path | None, typer.Option(help="The run's folder. Default: runs/<name>-<hash>.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint; a finished run stays as it is.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check recipe, data and model, say what would run, write nothing.")
    ] = False,
) -> None:
    """Train RECIPE; the run's folder gets model/, a plain sentence-transformers model, and all records."""
    import logging

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("matryoshka_text").setLevel(logging.INFO)

    from transformers.utils.logging import disable_progress_bar

    from matryoshka_text.training import train as job

    disable_progress_bar()  # a line per weight file says nothing here

    typer.echo(job(recipe, out=out, resume=resume, dry_run=dry_run).summary)
