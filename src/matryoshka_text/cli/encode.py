"""`mtext encode`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from matryoshka_text.cli.options import Arithmetic, Column, RemoteCode
from matryoshka_text.cli.quietly import quietly

__all__ = ["encode"]
_Role = Annotated[
    str | None,
    typer.Option(help="Encode the texts as queries (query) or documents (document), with the model's prompt for them."),
]


def encode(
    model: Annotated[str, typer.Argument(help="A run, a saved model's folder, or a Hub id.", show_default=False)],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT…",
            help="Files of texts: .txt (one text a line), .jsonl, .json, .csv, .tsv, each also .gz; .parquet; or -.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the vectors.", show_default=False)],
    dim: Annotated[int | None, typer.Option(help="Prefix length. Default: the full width.")] = None,
    layers: Annotated[int | None, typer.Option(help="Run only the first N layers. Default: all.")] = None,
    dtype: Arithmetic = "float32",
    precision: Annotated[
        str, typer.Option(help="Stored as float32, float16, int8 (1 byte a dim) or binary (1 bit a dim).")
    ] = "float32",
    column: Column = "text",
    prompt: Annotated[str | None, typer.Option(help="Words to put before every text.")] = None,
    prompt_name: Annotated[str | None, typer.Option(help="One of the model's own prompts, by name.")] = None,
    role: _Role = None,
    rows_per_part: Annotated[int, typer.Option(help="Texts in memory at a time, and rows in a part file.")] = 16384,
    batch_tokens: Annotated[
        int | None, typer.Option(help="Padded tokens in one forward pass. Default: by device.")
    ] = None,
    calibrate: Annotated[int, typer.Option(help="int8: take the ranges from the first N texts.")] = 16384,
    join: Annotated[bool, typer.Option("--join", help="Also write all rows to one file, vectors.npy.")] = False,
    trust_remote_code: RemoteCode = False,
) -> None:
    """Encode the texts of INPUT… with MODEL. The --out folder gets part-00000.npy, … and encoding.json.

    Run the same command again to go on after a stop. For several processes:
    accelerate launch -m matryoshka_text encode …
    """
    quietly()
    from matryoshka_text.encoding import encode_file

    # Checked by the job, which knows the words.
    asked: dict[str, Any] = {"dtype": dtype, "precision": precision, "role": role}
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
        trust_remote_code=trust_remote_code,
        progress=True,
        **asked,
    )
    if done.first:
        typer.echo(done.summary)
