"""`mtext rotate` and `mtext dims`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from matryoshka_text.cli.numbers import numbers
from matryoshka_text.cli.options import RemoteCode
from matryoshka_text.cli.quietly import quietly
from matryoshka_text.errors import DataError, RecipeError

if TYPE_CHECKING:
    from matryoshka_text.rotating.look import Look
    from matryoshka_text.rotating.texts import Reading
    from matryoshka_text.rotation import FitSettings

__all__ = ["dims_of", "rotate"]

_Model = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="A run, a saved model's folder, or a Hub id. Leave it out with --vectors."),
]
_Texts = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Texts of one kind: .txt, .jsonl, .json, .csv, .tsv, each also .gz; .parquet. Repeat it for more kinds.",
    ),
]
_Vectors = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH",
        help="Vectors in place of model and texts: a .npy file or a folder of `mtext encode`. Repeatable.",
    ),
]
_Column = Annotated[
    list[str] | None,
    typer.Option(help="Column with the texts, in files that have columns. Repeatable. Default: text."),
]
_Dims = Annotated[
    str | None,
    typer.Option(help="Prefix lengths, such as 48,96,192. Default: the model's, or its width and halvings of it."),
]
_Most = Annotated[int, typer.Option(help="Use at most N texts of a file, drawn by the seed.", metavar="N")]
_Characters = Annotated[
    int,
    typer.Option(help="Cut texts after N characters. Beginnings are enough to learn from, and faster.", metavar="N"),
]
_Dtype = Annotated[
    str, typer.Option(help="Arithmetic of encoding: float32, bf16, or auto (bf16 if the hardware has it).")
]
_Prompt = Annotated[
    list[str] | None, typer.Option(help="Words to put before every text. Repeat it to give one for each --texts.")
]
_PromptName = Annotated[
    list[str] | None, typer.Option(help="One of the model's own prompts, by name. Repeatable as --prompt is.")
]
_Out = Annotated[Path | None, typer.Option(help="Folder for the rotated model. With --vectors: a .safetensors file.")]
_Split = Annotated[
    int, typer.Option(help="Divide each file into K sources by k-means, if it mixes kinds of text.", metavar="K")
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say what prefixes keep as they are. Learn and write nothing.")
]


def rotate(
    model: _Model = None,
    texts: _Texts = None,
    vectors: _Vectors = None,
    out: _Out = None,
    column: _Column = None,
    dims: _Dims = None,
    most: _Most = 20_000,
    max_characters: _Characters = 400,
    split: _Split = 1,
    start: Annotated[
        str | None, typer.Option(help="Where learning starts: within_source or pooled (principal axes), or identity.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of learning. 0 keeps the start.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of Adam, in radians.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Divides the cosines of a batch.")] = None,
    anchors: Annotated[int | None, typer.Option(help="Texts in a batch, before their neighbours join.")] = None,
    neighbours: Annotated[int | None, typer.Option(help="How many nearest texts join each anchor.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the texts and batches that are drawn.")] = 0,
    dtype: _Dtype = "float32",
    prompt: _Prompt = None,
    prompt_name: _PromptName = None,
    trust_remote_code: RemoteCode = False,
    dry_run: _DryRun = False,
) -> None:
    """Rotate MODEL's vectors so that their first dimensions work better. Full width stays as it is.

    No labels are needed. The --out folder gets model/ (plain sentence-transformers), the matrix and a table.

    Run the same command again to go on after a stop.
    """
    given = {"start": start, "steps": steps, "learning_rate": learning_rate, "temperature": temperature}
    given |= {"anchors": anchors, "neighbours": neighbours, "seed": seed}
    _require_one(model, texts, vectors)
    read: dict[str, Any] = {"dtype": dtype, "prompt": prompt, "prompt_name": prompt_name}
    read["trust_remote_code"] = trust_remote_code
    _require_read(vectors, column, max_characters, read)
    quietly()
    reading, settings = _reading(column, most, max_characters, seed), _settings(given)
    if dry_run:
        look = _look(model, texts, vectors, dims=numbers(dims, "--dims"), reading=reading, read=read, few=True)
        typer.echo(f"{look}\nnothing was learned or written (--dry-run)")
        return
    if out is None:
        raise DataError("--out: is not given; allowed: a folder, or with --vectors a .safetensors file")
    how: dict[str, Any] = {"most": most, "split": split, "settings": settings, "progress": True}
    if vectors:
        _rotate_vectors(vectors, out, numbers(dims, "--dims"), how)
        return
    from matryoshka_text.rotating import rotate as job

    assert model is not None and texts is not None
    how |= {"columns": reading.columns, "max_characters": max_characters, **read}
    done = job(model, list(texts), numbers(dims, "--dims"), out=out, **how)
    files = "model/, rotation.safetensors, rotation.json, metrics.jsonl, table.txt, vectors/"
    typer.echo(done)
    typer.echo(f"written to {out}: {files}" if done.new else f"{out}: is finished already; nothing was changed")


def dims_of(
    model: _Model = None,
    texts: _Texts = None,
    vectors: _Vectors = None,
    column: _Column = None,
    dims: _Dims = None,
    most: _Most = 20_000,
    max_characters: _Characters = 400,
    seed: Annotated[int, typer.Option(help="Seed of the texts that are drawn.")] = 0,
    dtype: _Dtype = "float32",
    prompt: _Prompt = None,
    prompt_name: _PromptName = None,
    trust_remote_code: RemoteCode = False,
) -> None:
    """Show how far MODEL can be cut: the share of nearest neighbours that each prefix keeps. No labels are needed."""
    _require_one(model, texts, vectors)
    read: dict[str, Any] = {"dtype": dtype, "prompt": prompt, "prompt_name": prompt_name}
    read["trust_remote_code"] = trust_remote_code
    _require_read(vectors, column, max_characters, read)
    quietly()
    reading = _reading(column, most, max_characters, seed)
    typer.echo(_look(model, texts, vectors, dims=numbers(dims, "--dims"), reading=reading, read=read), nl=False)


def _require_one(model: str | None, texts: Sequence[Path] | None, vectors: Sequence[Path] | None) -> None:
    if vectors and (model is not None or texts):
        found = "MODEL" if model is not None else "--texts"
        raise RecipeError(f"--vectors: found next to {found}; allowed: MODEL with --texts, or --vectors; leave one out")
    if vectors:
        return
    if model is None:
        raise RecipeError("MODEL: found neither a model nor --vectors; allowed: MODEL with --texts, or --vectors")
    if not texts:
        raise RecipeError("--texts: found none; allowed: at least one file of texts like those to be searched")


def _require_read(
    vectors: Sequence[Path] | None, column: Sequence[str] | None, max_characters: int, read: dict[str, Any]
) -> None:
    """`RecipeError` for an option about texts next to --vectors, which would read none."""
    given = {"--column": column, "--max-characters": max_characters != 400}
    given |= {f"--{word.replace('_', '-')}": value for word, value in read.items()}
    unread = [option for option, value in given.items() if value and value != "float32"]
    if vectors and unread:
        raise RecipeError(f"{unread[0]}: found next to --vectors, which hold no texts; leave it out")


def _reading(columns: Sequence[str] | None, most: int, max_characters: int, seed: int) -> "Reading":
    from matryoshka_text.rotating.texts import Reading

    return Reading(tuple(columns or ("text",)), most, max_characters, seed)


def _settings(given: dict[str, Any]) -> "FitSettings":
    from matryoshka_text.rotation import FitSettings

    try:
        return FitSettings(**{key: value for key, value in given.items() if value is not None})
    except ValueError as error:
        option, _, rest = str(error).partition(" ")
        raise RecipeError(f"--{option.replace('_', '-')} {rest}") from error


def _look(
    model: str | None,
    texts: Sequence[Path] | None,
    vectors: Sequence[Path] | None,
    *,
    dims: tuple[int, ...] | None,
    reading: "Reading",
    read: dict[str, Any],
    few: bool = False,
) -> "Look":
    from matryoshka_text.rotating.look import few_of, look_at_texts, look_at_vectors

    reading = few_of(reading, len(vectors or texts or ())) if few else reading
    if vectors:
        return look_at_vectors(vectors, dims, reading=reading)
    assert model is not None and texts is not None
    return look_at_texts(model, list(texts), dims, reading=reading, **read, progress=True)


def _rotate_vectors(vectors: Sequence[Path], out: Path, dims: tuple[int, ...] | None, how: dict[str, Any]) -> None:
    from matryoshka_text.rotating.rotate_vectors import rotate_vectors

    done = rotate_vectors(vectors, out, dims, **how)
    typer.echo(done)
    typer.echo(
        f"written to {out}" if done.new else f"{out}: is there already, of the same vectors; nothing was changed"
    )
