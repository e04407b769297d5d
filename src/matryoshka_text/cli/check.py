"""`mtext check`."""

from pathlib import Path
from typing import Annotated

import typer

from matryoshka_text.errors import bounded

__all__ = ["check"]


def check(recipes: Annotated[list[Path], typer.Argument(help="Recipes, YAML files.")]) -> None:
    """Report every mistake in RECIPES, with file, line and key; exit with 2 if there is one. Nothing is run."""
    from matryoshka_text.build.check import inspect_recipe

    found = [inspect_recipe(recipe) for recipe in recipes]
    for findings in found:
        if lines := [*findings.problems, *findings.notes]:
            typer.echo(bounded("\n".join(lines)))
    for recipe, findings in zip(recipes, found, strict=True):
        number = len(findings.problems)
        typer.echo(f"{recipe}: {'ok' if not number else '1 error' if number == 1 else f'{number} errors'}")
    if any(findings.problems for findings in found):
        raise typer.Exit(2)
