"""`mtext check`."""

from pathlib import Path
from typing import Annotated

import typer

from matryoshka_text.errors import MtextError, bounded

__all__ = ["check"]


def check(recipes: Annotated[list[Path], typer.Argument(help="Recipes, YAML files.")]) -> None:
    """Report every mistake in RECIPES, with file, line and key; exit with 2 if there is one. Nothing is run."""
    from matryoshka_text.build.check import inspect_recipe

    counts: dict[Path, int] = {}
    bug: Exception | None = None
    for recipe in recipes:
        try:
            findings = inspect_recipe(recipe)
            problems, notes = findings.problems, findings.notes
        except MtextError as error:
            problems, notes = [str(error)], []
        except Exception as error:
            # The report on the other recipes must not be lost.
            problems, notes, bug = [f"{recipe}: cannot be checked ({type(error).__name__}: {error})"], [], bug or error
        if lines := [*problems, *notes]:
            typer.echo(bounded("\n".join(lines)))
        counts[recipe] = len(problems)
    for recipe, number in counts.items():
        typer.echo(f"{recipe}: {'ok' if not number else '1 error' if number == 1 else f'{number} errors'}")
    if bug is not None:
        raise bug
    if any(counts.values()):
        raise typer.Exit(2)
