"""The command line: one short function per verb, heavy imports inside the verbs."""

import errno
import sys

import click
import typer

from matryoshka_text import __version__
from matryoshka_text.cli.check import check
from matryoshka_text.cli.data import data
from matryoshka_text.cli.encode import encode
from matryoshka_text.cli.eval import evaluate
from matryoshka_text.cli.rotate import dims_of, rotate
from matryoshka_text.cli.train import train
from matryoshka_text.errors import MtextError

__all__ = ["app", "main"]

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mtext {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Fine-tune sentence embeddings you can truncate."""


app.command("check")(check)
app.command("train")(train)
app.command("eval")(evaluate)
app.command("encode")(encode)
app.command("rotate")(rotate)
app.command("dims")(dims_of)
app.add_typer(data, name="data")


def main() -> None:
    """Run the command line: exit status 0, 2 for what the user can put right, 130 for Ctrl-C."""
    try:
        app()
    except MtextError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        # A folder that may not be written, a disk that filled up meanwhile: the user's to mend, not a fault to trace.
        if error.filename is None and error.errno not in _DISK:
            raise
        place = f"{error.filename}: " if error.filename is not None else ""
        click.echo(f"error: {place}{error.strerror}; mend that, or give another place with --out", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
