"""Options that several verbs have."""

from typing import Annotated

import typer

__all__ = ["RemoteCode"]

RemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run the Python code that the model brings along. Only if you trust it."),
]
