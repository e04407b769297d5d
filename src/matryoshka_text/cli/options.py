"""Options that several verbs have."""

from typing import Annotated

import typer

__all__ = ["Arithmetic", "Column", "RemoteCode"]

Arithmetic = Annotated[
    str, typer.Option("--dtype", help="Arithmetic: float32, bf16, or auto (bf16 if the hardware has it).")
]
Column = Annotated[str, typer.Option(help="Column with the texts, in files that have columns.")]

RemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run the Python code that the model brings along. Only if you trust it."),
]
