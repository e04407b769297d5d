"""The command line: one short function per verb, heavy imports inside the verbs."""

import errno
import platform
import sys
import traceback

import click
import typer

from matryoshka_text.cli.check import check
from matryoshka_text.cli.data import data
from matryoshka_text.cli.encode import encode
from matryoshka_text.cli.eval import evaluate
from matryoshka_text.cli.rotate import dims_of, rotate
from matryoshka_text.cli.search import index, search
from matryoshka_text.cli.train import train
from matryoshka_text.errors import MtextError
from matryoshka_text.versions import __version__, version_of

__all__ = ["app", "main"]

# A folder that may not be written, a path of another kind, a full disk: the user can mend these.
_OF_THE_DISK = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE),
)
_PACKAGES = ("torch", "transformers", "sentence-transformers", "datasets", "mteb", "numpy")
_REQUEST = """
This looks like a bug in matryoshka-text. Please report it in the project's issue tracker, with the lines
above, the command, the recipe if there is one, and these versions:
{versions}"""

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
app.command("index")(index)
app.command("search")(search)
app.add_typer(data, name="data")


def main() -> None:
    """Run the command line.

    Exit status: 0; 2 for what the user can put right, told in one message; 130 for Ctrl-C; 1 for a bug of ours, with
    its traceback and what a report of it needs.
    """
    try:
        app()
    except MtextError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            place = f"{error.filename}: " if error.filename is not None else ""
            click.echo(f"error: {place}{error.strerror}; mend that, or give another place with --out", err=True)
            sys.exit(2)
        traceback.print_exc()
        click.echo(_REQUEST.format(versions=_versions()), err=True)
        sys.exit(1)


def _versions() -> str:
    found = ", ".join(f"{name} {version_of(name) or 'not installed'}" for name in _PACKAGES)
    return f"matryoshka-text {__version__}, Python {platform.python_version()}, {platform.system()}; {found}"
