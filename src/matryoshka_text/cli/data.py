"""`mtext data fetch`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from matryoshka_text.errors import DataError, RecipeError

if TYPE_CHECKING:
    from matryoshka_text.suite import Suite

__all__ = ["data"]

data = typer.Typer(no_args_is_help=True, add_completion=False, help="Get data for evaluations.")


@data.callback()
def _data() -> None:
    """Get data for evaluations."""


@data.command("fetch")
def fetch(
    suites: Annotated[
        list[str],
        typer.Argument(
            metavar="SUITE",
            help="One or more bundled suites, .yaml files, or benchmarks and tasks of mteb.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The data root. Data sets go into DIR/mteb/.", show_default=False)],
) -> None:
    """Download the Hub data that the tasks of SUITE read, for `mtext eval --suite SUITE --data-root DIR` anywhere.

    Run the same command again to go on after a stop. Data that are there and unchanged are left alone.
    """
    import sys

    from huggingface_hub.utils.tqdm import disable_progress_bars

    from matryoshka_text.evaluation.tasks.hub import datasets_of
    from matryoshka_text.fetch import fetch as fetch_all

    wanted = datasets_of(*_opened(suites))
    if not wanted:
        named = f"suite{'' if len(suites) == 1 else 's'} {', '.join(suites)}"
        typer.echo(f"{named}: no task reads a data set of the hub; nothing to fetch")
        return
    if not sys.stderr.isatty():
        disable_progress_bars()
    done = fetch_all(wanted, out, on_line=typer.echo)
    failed = [one for one in done if one.problem]
    if failed:
        raise DataError(
            f"{len(failed)} of {len(done)} data sets were not to be had; the others are in {out}. Failed:\n  "
            + "\n  ".join(f"{one.wanted} ({', '.join(one.wanted.tasks)}): {one.problem}" for one in failed)
        )
    typer.echo(f"all {len(done)} data sets are in {out / 'mteb'}; use them with --data-root {out}")


def _opened(names: list[str]) -> "list[Suite]":
    """The suites of those names; `RecipeError` for all that are unknown."""
    from matryoshka_text.evaluation.tasks.names import open_suite

    found, problems = [], []
    for name in dict.fromkeys(names):
        try:
            found.append(open_suite(name))
        except RecipeError as error:
            problems.append(str(error))
    if problems:
        raise RecipeError("\n".join(problems))
    return found
