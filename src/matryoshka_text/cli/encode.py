"""`mtext encode`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from matryoshka_text.cli.quietly import quietly

__all__ = ["encode"]


def encode(
    model: Annotated[str, typer.Argument(help="A run, a saved model's folder, or a hub id.", show_default=False)],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT…",
            help="Files of texts: .txt (a text a line), .jsonl, .csv, .tsv, each also .gz; .parquet; or - for stdin.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the vectors.", show_default=False)],
    dim: Annotated[int | None, typer.Option(help="Prefix length. Default: the full width.")] = None,
    layers: Annotated[int | None, typer.Option(help="Run the first so many layers alone. Default: all.")] = None,
    dtype: Annotated[
        str, typer.Option(help="Arithmetic: float32, bf16, or auto (bf16 where it is faster).")
    ] = "float32",
    precision: Annotated[
        str, typer.Option(help="Stored as float32, float16, int8 (a byte a dim) or ubinary (a bit a dim).")
    ] = "float32",
    column: Annotated[str, typer.Option(help="The column of texts, in files that have columns.")] = "text",
    prompt: Annotated[str | None, typer.Option(help="Put before every text.")] = None,
    prompt_name: Annotated[str | None, typer.Option(help="The model's prompt of that name.")] = None,
    rows_per_part: Annotated[int, typer.Option(help="Texts in memory at a time, and rows of a part file.")] = 16384,
    batch_tokens: Annotated[int | None, typer.Option(help="Padded tokens of a pass. Default: by device.")] = None,
    calibrate: Annotated[int, typer.Option(help="int8: the first so many texts give the ranges.")] = 16384,
    join: Annotated[bool, typer.Option("--join", help="Also write all rows to one file, vectors.npy.")] = False,
) -> None:
    """Encode the texts of INPUT… with MODEL; DIR gets part-00000.npy, … and encoding.json.

    The same command goes on where it was stopped. For several processes: accelerate launch -m matryoshka_text encode …
    """
    quietly()
    from matryoshka_text.encoding import encode_file

    # One bit a dimension is `binary` everywhere; here it is stored as what sentence-transformers calls ubinary.
    stored = "ubinary" if precision == "binary" else precision
    asked: dict[str, Any] = {"dtype": dtype, "precision": stored}  # checked by the job, which knows the words
    done = encode_file(
        model,
        inputs,
        out,
        dim=dim,
        layers=layers,
        column=column,
        prompt=prompt,
        prompt_name=prompt_name,
        rows_per_part=rows_per_part,
        batch_tokens=batch_tokens,
        calibrate=calibrate,
        join=join,
        progress=True,
        **asked,
    )
    if done.first:
        typer.echo(done.summary)
