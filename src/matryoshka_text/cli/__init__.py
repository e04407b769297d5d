"""The command line: one short function per verb, heavy imports inside the verbs."""

import errno
import os
import platform
import re
import sys
import traceback

import click
import typer

from matryoshka_text.cli.check import check
from matryoshka_text.cli.data import data
from matryoshka_text.cli.doctor import doctor
from matryoshka_text.cli.encode import encode
from matryoshka_text.cli.eval import evaluate
from matryoshka_text.cli.interrupt import AGAIN, interruptions, status_of
from matryoshka_text.cli.rotate import dims_of, rotate
from matryoshka_text.cli.search import index, search
from matryoshka_text.cli.train import train
from matryoshka_text.errors import MtextError
from matryoshka_text.versions import __version__, version_of

__all__ = ["app", "main"]

# A full disk, a quota, the largest file that is allowed. What was finished is on disk.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A folder that may not be written, a path of another kind: the user can mend these too.
_OF_THE_DISK = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(*_FULL, errno.EIO, errno.EMFILE),
)
# How the threads of OpenMP wait for each other, decided before a verb imports torch. By default they keep a core busy
# while they wait: next to another program, the one that has work then gets no core to do it on.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
_PACKAGES = ("torch", "transformers", "sentence-transformers", "datasets", "mteb", "numpy")
_REQUEST = """
This looks like a bug in matryoshka-text. Please report it in the project's issue tracker, with the lines
above, the command, the recipe if there is one, the output of `mtext doctor`, and these versions:
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
app.command("doctor")(doctor)
app.command("index")(index)
app.command("search")(search)
app.add_typer(data, name="data")


def main() -> None:
    """Run the command line.

    Exit status: 0; 2 for what the user can put right, told in one message; 130 for Ctrl-C, 143 for SIGTERM;
    1 for a bug of ours, with its traceback and what a report of it needs.
    """
    for name, value in _WAITING.items():
        os.environ.setdefault(name, value)
    with interruptions() as signals:
        try:
            app()
        # Libraries turn an interrupt into errors of their own, above all while they are being imported.
        except BaseException as error:
            if signals or isinstance(error, KeyboardInterrupt):
                click.echo(f"interrupted; {AGAIN}", err=True)
                sys.exit(status_of(signals))
            if not isinstance(error, Exception):
                raise
            sys.exit(_told(error))


def _told(error: Exception) -> int:
    """Tell the user of `error`; the exit status."""
    if isinstance(error, MtextError):
        click.echo(f"error: {error}", err=True)
        return 2
    if (fault := _fault_of_the_disk(error)) is not None:
        place = f"{fault.filename}: " if fault.filename is not None else ""
        way_out = f"free some space and {AGAIN}" if fault.errno in _FULL else "mend that"
        click.echo(f"error: {place}{fault.strerror}; {way_out}, or give another place with --out", err=True)
        return 2
    traceback.print_exception(error)
    click.echo(_REQUEST.format(versions=_versions()), err=True)
    return 1


def _fault_of_the_disk(error: BaseException | None) -> OSError | None:
    """The fault of the disk that `error` is, or that it hides; None if it is another.

    safetensors and tokenizers have errors of their own, which give the system's number in words.
    """
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        return error
    while error is not None:
        in_words = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(in_words[1]) if in_words else None
        if number is not None and number in (*_FULL, errno.EROFS, errno.EIO):
            return error if isinstance(error, OSError) else OSError(number, os.strerror(number))
        error = error.__cause__ or error.__context__
    return None


def _versions() -> str:
    found = ", ".join(f"{name} {version_of(name) or 'not installed'}" for name in _PACKAGES)
    return f"matryoshka-text {__version__}, Python {platform.python_version()}, {platform.system()}; {found}"
