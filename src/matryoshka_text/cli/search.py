"""`mtext index` and `mtext search`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from matryoshka_text.cli.numbers import numbers
from matryoshka_text.cli.options import RemoteCode
from matryoshka_text.cli.quietly import quietly
from matryoshka_text.errors import DataError, RunError

if TYPE_CHECKING:
    from matryoshka_text.search import Hits, PrefixIndex

__all__ = ["index", "search"]

_Column = Annotated[str, typer.Option(help="Column with the texts, in files that have columns.")]
_IdColumn = Annotated[str | None, typer.Option(help="Column with the ids. Default: the number of the row.")]
_K = Annotated[int, typer.Option("-k", help="How many documents to find.")]


def index(
    vectors: Annotated[
        Path,
        typer.Argument(help="A folder of `mtext encode`, or a .npy file of float vectors.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the index.", show_default=False)],
    texts: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Texts of the documents, to show with hits. Default: the files encoded."),
    ] = None,
    no_texts: Annotated[bool, typer.Option("--no-texts", help="Keep no texts in the index.")] = False,
    column: _Column = "text",
    id_column: _IdColumn = None,
    dims: Annotated[
        str | None, typer.Option(help="Prefix lengths to choose from, such as 48,96,192. Default: the width halved.")
    ] = None,
    no_rotate: Annotated[
        bool, typer.Option("--no-rotate", help="Search the vectors as they are, without a rotation of their own.")
    ] = False,
    normalize: Annotated[bool, typer.Option("--normalize", help="Divide rows by their length.")] = False,
    queries: Annotated[
        Path | None,
        typer.Option(help="Queries to tune with: texts, or vectors (.npy, folder). Default: documents stand in."),
    ] = None,
    query_column: Annotated[str, typer.Option(help="Column with the queries, in files that have columns.")] = "text",
    model: Annotated[
        str | None, typer.Option(help="Model for queries in text. Default: the one of the vectors.")
    ] = None,
    trust_remote_code: RemoteCode = False,
    recall: Annotated[float, typer.Option(help="Share of the exact top k that a search must find.")] = 0.99,
    k: _K = 10,
    structures: Annotated[
        str, typer.Option(help="What a first stage may search, with commas: flat, hnsw, ivf, pq.")
    ] = "flat",
    no_tune: Annotated[bool, typer.Option("--no-tune", help="Do not look for the fastest plan.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the rows and batches that are drawn.")] = 0,
) -> None:
    """Build an index of VECTORS that searches short prefixes first, and tune it to a recall.

    The index learns a rotation of its own from the vectors, and leaves the model as it is. Scores are cosines at full
    width.
    """
    quietly()
    from matryoshka_text.search import PrefixIndex
    from matryoshka_text.search.source import open_source

    kinds = _structures(structures)
    source = open_source(vectors, texts=texts or (), column=column, id_column=id_column, bare=no_texts)
    built = PrefixIndex.build(
        source.vectors,
        dims=numbers(dims, "--dims"),
        ids=source.ids,
        texts=source.texts,
        rotate=not no_rotate,
        normalize=normalize,
        origin=source.origin,
        seed=seed,
        out=out,
        progress=True,
    )
    if not no_tune:
        asked = None if queries is None else _vectors_of(built, queries, query_column, model, code=trust_remote_code)
        found = built.tune(asked, k=k, recall=recall, structures=kinds, progress=True)
        for candidate in found.candidates:
            typer.echo(f"  {candidate}")
    typer.echo(f"plan   {built.plan}")
    if built.plan.measured is not None and built.plan.measured.stand_ins:
        typer.echo("       Documents stood in for queries, so real queries may find less: give some with --queries.")
    typer.echo(f"index  {out}")


def search(
    index: Annotated[Path, typer.Argument(help="A folder of `mtext index`.", show_default=False)],
    text: Annotated[str | None, typer.Argument(help="What to look for.", show_default=False)] = None,
    k: _K = 10,
    queries: Annotated[
        Path | None, typer.Option(help="Many queries: a file of texts, or vectors (.npy, folder). Needs --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --queries: the run file to write, in TREC format.")] = None,
    column: _Column = "text",
    id_column: _IdColumn = None,
    model: Annotated[str | None, typer.Option(help="Model for the queries. Default: the one of the index.")] = None,
    trust_remote_code: RemoteCode = False,
    plan: Annotated[Path | None, typer.Option(help="A plan as JSON. Default: the one the index was tuned to.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare every document at full width.")] = False,
) -> None:
    """Find the documents of INDEX nearest to TEXT, or to each query of a file.

    A run file has a line for each hit: query, Q0, document, rank, score, mtext.
    """
    quietly()
    from matryoshka_text.search import Plan, PrefixIndex

    if (text is None) == (queries is None):
        raise DataError("found both TEXT and --queries, or neither; allowed: one of them")
    if (queries is None) != (out is None):
        raise DataError("found one of --queries and --out; allowed: both (a run file is written), or TEXT only")
    opened = PrefixIndex.open(index)
    chosen = Plan.exact(opened.width) if exact else Plan.open(plan) if plan is not None else opened.plan
    if text is not None:
        if not text.strip():
            raise DataError("TEXT: found an empty query; allowed: some words")
        from matryoshka_text.search.asking import Asker

        _print(opened, opened.search(Asker(opened, model, trust_remote_code=trust_remote_code)([text]), k, chosen))
        return
    assert queries is not None and out is not None
    names = _names_of(queries, column, id_column)
    hits = opened.search(_vectors_of(opened, queries, column, model, code=trust_remote_code), k, chosen)
    _write_run(out, names or [str(row) for row in range(len(hits.ids))], hits)
    typer.echo(f"run    {out}")


def _structures(given: str) -> tuple[Any, ...]:
    known = ("flat", "hnsw", "ivf", "pq")
    kinds = tuple(given.split(","))
    if wrong := [kind for kind in kinds if kind not in known]:
        raise RunError(f"--structures: found {', '.join(wrong)}; allowed: {', '.join(known)}")
    return kinds


def _is_vectors(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".npy"


def _names_of(path: Path, column: str, id_column: str | None) -> list[str] | None:
    """The ids of the queries; None for vectors, which have none."""
    if _is_vectors(path):
        return None
    from matryoshka_text.search.source import named_texts

    return [name for name, _ in named_texts(path, column, id_column)]


def _vectors_of(index: "PrefixIndex", path: Path, column: str, model: str | None, *, code: bool) -> Any:
    """The vectors of the queries at `path`: as they are, or their texts encoded."""
    if _is_vectors(path):
        from matryoshka_text.encoding.vectors import open_floats

        found = open_floats(path)
        return found[list(range(len(found)))]
    from matryoshka_text.search.asking import Asker
    from matryoshka_text.search.source import named_texts

    texts = [text for _, text in named_texts(path, column, None)]
    if not texts or (blank := next((n for n, text in enumerate(texts, 1) if not text.strip()), None)):
        raise DataError(
            f"{path}: found {f'an empty query in row {blank}' if texts else 'no queries'}; allowed: some words"
        )
    return Asker(index, model, trust_remote_code=code)(texts)


def _print(index: "PrefixIndex", hits: "Hits") -> None:
    texts: Sequence[str | None] = index.texts(hits.rows[0])
    for name, score, text in zip(hits.ids[0], hits.scores[0].tolist(), texts, strict=True):
        if name is not None:
            typer.echo(f"{score:.4f}  {name}" + ("" if text is None else f"  {' '.join(text.split())[:160]}"))


def _write_run(path: Path, names: Sequence[str], hits: "Hits") -> None:
    from matryoshka_text.files import write_whole

    lines = [
        f"{query} Q0 {name} {rank} {score:.6f} mtext\n"
        for query, ids, scores in zip(names, hits.ids, hits.scores.tolist(), strict=True)
        for rank, (name, score) in enumerate(zip(ids, scores, strict=True), start=1)
        if name is not None
    ]
    write_whole(path, "".join(lines))
