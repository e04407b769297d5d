"""`mtext doctor`."""

from typing import Annotated

import typer

from matryoshka_text.cli.options import RemoteCode

__all__ = ["doctor"]


def doctor(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL|RECIPE|RUN]",
            help="A saved model's folder or Hub id, a recipe, or a run's folder. Default: only this machine.",
            show_default=False,
        ),
    ] = None,
    trust_remote_code: RemoteCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with nothing cut.")] = False,
) -> None:
    """Say what this machine has and whether the parts of a model, recipe or run agree; exit with 2 if they do not.

    Paste the output into a bug report: no secret is in it. Nothing is written or fetched.
    """
    import logging
    import warnings

    from transformers.utils.logging import disable_progress_bar

    # Libraries' remarks would stand between the lines; our own warnings become lines.
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    disable_progress_bar()
    from matryoshka_text.doctor import examine

    found = examine(what, trust_remote_code=trust_remote_code)
    typer.echo(found.as_json() if as_json else str(found))
    if not found.ok:
        raise typer.Exit(2)
