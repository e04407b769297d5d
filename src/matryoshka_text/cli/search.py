"""`mtext index` and `mtext search`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from matryoshka_text.cli.numbers import numbers
from matryoshka_text.cli.options import Column, RemoteCode
from matryoshka_text.cli.quietly import quietly
from matryoshka_text.errors import DataError, RunError

if TYPE_CHECKING:
    from matryoshka_text.search import Hits, PrefixIndex

__all__ = ["index", "search"]

_IdColumn = Annotated[str | None, typer.Option(help="Column with the ids. Default: the number of the row.")]
_K = Annotated[int, typer.Option("-k", help="How many documents to find.")]
_Vectors = Annotated[
    Path,
    typer.Argument(
        help="A folder of `mtext encode`, or a .npy file of float vectors. With --to and without --out, an index.",
        show_default=False,
    ),
]
_Out = Annotated[Path | None, typer.Option(help="Folder for the index.", show_default=False)]
_NoTexts = Annotated[bool, typer.Option("--no-texts", help="Keep no texts in the index.")]
_Normalize = Annotated[bool, typer.Option("--normalize", help="Divide rows by their length.")]
_Queries = Annotated[
    Path | None,
    typer.Option(help="Queries to tune with: texts, or vectors (.npy, folder). Default: documents stand in."),
]
_QueryColumn = Annotated[str, typer.Option(help="Column with the queries, in files that have columns.")]
_Model = Annotated[str | None, typer.Option(help="Model for queries in text. Default: the one of the vectors.")]
_Recall = Annotated[float, typer.Option(help="Share of the exact top k that a search must find.")]
_Structures = Annotated[
    str | None,
    typer.Option(
        help="What a first stage may search, with commas: flat, hnsw, ivf, pq. Default: pq,flat; hnsw,flat with --to."
    ),
]
_NoTune = Annotated[bool, typer.Option("--no-tune", help="Do not look for the fastest plan.")]
_To = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Load the index into PostgreSQL with pgvector: postgresql://user@host/database; the password "
        "comes from PGPASSWORD or ~/.pgpass.",
    ),
]
_Table = Annotated[str | None, typer.Option(help="With --to: the table to make. Default: documents.")]
_Texts = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Texts of the documents, to show with hits. Default: the files encoded."),
]
_Dims = Annotated[
    str | None, typer.Option(help="Prefix lengths to choose from, such as 48,96,192. Default: the width halved.")
]
_NoRotate = Annotated[
    bool, typer.Option("--no-rotate", help="Search the vectors as they are, without a rotation of their own.")
]


def index(
    context: typer.Context,
    vectors: _Vectors,
    out: _Out = None,
    texts: _Texts = None,
    no_texts: _NoTexts = False,
    column: Column = "text",
    id_column: _IdColumn = None,
    dims: _Dims = None,
    no_rotate: _NoRotate = False,
    normalize: _Normalize = False,
    queries: _Queries = None,
    query_column: _QueryColumn = "text",
    model: _Model = None,
    trust_remote_code: RemoteCode = False,
    recall: _Recall = 0.99,
    k: _K = 10,
    structures: _Structures = None,
    no_tune: _NoTune = False,
    seed: Annotated[int, typer.Option(help="Seed of the rows and batches that are drawn.")] = 0,
    to: _To = None,
    table: _Table = None,
) -> None:
    """Build an index of VECTORS that searches short prefixes first, and tune it to a recall.

    The index learns a rotation of its own from the vectors, and leaves the model as it is. Scores are cosines at full
    width.

    mtext index INDEX --to URL loads an index that is there into PostgreSQL, and measures its recall there.
    """
    quietly()
    from matryoshka_text.search import PrefixIndex

    kinds = _structures(structures or ("pq,flat" if to is None else "hnsw,flat"))
    if table is not None and to is None:
        raise DataError(f"--table: found {table} without --to; allowed: both, to load the index into a table")
    if queries is not None:
        _require_queries(queries, query_column)
    asked_of = partial(_asked, queries, query_column, model=model, code=trust_remote_code)
    if out is None:
        _require_no_building(context)
        built = PrefixIndex.open(vectors)
    else:
        words: dict[str, Any] = {"texts": texts or (), "column": column, "id_column": id_column, "bare": no_texts}

        def tune(made: PrefixIndex) -> None:
            for candidate in made.tune(asked_of(made), k=k, recall=recall, structures=kinds, progress=True).candidates:
                typer.echo(f"  {candidate}")

        settings = {"rotate": not no_rotate, "normalize": normalize, "seed": seed}
        # Tuned before the index is in its place: what cannot be tuned leaves nothing behind.
        built = _built(vectors, out, words, dims=dims, then=None if no_tune else tune, **settings)
    typer.echo(f"plan   {built.plan}")
    if built.plan.measured is not None and built.plan.measured.stand_ins:
        typer.echo("       Documents stood in for queries, so real queries may find less: give some with --queries.")
    typer.echo(f"index  {built.folder}")
    if to is not None:
        _load(built, to, table or "documents", asked_of(built), k=k, texts=not no_texts)


def search(
    index: Annotated[Path, typer.Argument(help="A folder of `mtext index`.", show_default=False)],
    text: Annotated[str | None, typer.Argument(help="What to look for.", show_default=False)] = None,
    k: _K = 10,
    queries: Annotated[
        Path | None, typer.Option(help="Many queries: a file of texts, or vectors (.npy, folder). Needs --out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --queries: the run file to write, in TREC format.")] = None,
    column: Column = "text",
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


def _require_no_building(context: typer.Context) -> None:
    """`DataError` unless the command loads an index that is there, and has no option for building one."""
    if context.params["to"] is None:
        raise DataError("--out: is missing; allowed: a folder for the index; or --to, to load an index that is there")
    loading = ("vectors", "to", "table", "queries", "query_column", "model", "trust_remote_code", "k", "no_texts")
    sources = {name: context.get_parameter_source(name) for name in context.params if name not in loading}
    given = [
        f"--{name.replace('_', '-')}" for name, source in sources.items() if source and source.name == "COMMANDLINE"
    ]
    if given:
        raise DataError(
            f"{', '.join(sorted(given))}: belong to the building of an index; give --out too, or leave them out to "
            "load one that is there"
        )


def _built(vectors: Path, out: Path, words: dict[str, Any], *, dims: str | None, **settings: Any) -> "PrefixIndex":
    from matryoshka_text.search import PrefixIndex
    from matryoshka_text.search.source import open_source

    source = open_source(vectors, **words)
    return PrefixIndex.build(
        source.vectors,
        dims=numbers(dims, "--dims"),
        ids=source.ids,
        texts=source.texts,
        origin=source.origin,
        out=out,
        progress=True,
        **settings,
    )


def _load(index: "PrefixIndex", url: str, table: str, asked: Any, *, k: int, texts: bool) -> None:
    from matryoshka_text.search.postgres import load

    done = load(index, url, table, texts=texts, queries=asked, k=k, progress=True)
    for note in done.sql.notes:
        typer.echo(f"       {note}")
    where = f"the table {done.sql.table} of {done.place}"
    if not (done.copied or done.built):
        typer.echo(f"server {where} holds this index already, with {done.rows:,} rows: nothing was done")
        return
    typer.echo(f"server loaded {done.rows:,} rows into {where}" if done.copied else f"server {where}: index built anew")
    if done.check is None:
        typer.echo("       Too few rows to measure its recall.")
        return
    typer.echo(f"       {done.check}")
    if asked is None:
        typer.echo("       Documents stood in for queries.")


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


def _texts_of(path: Path, column: str) -> list[str]:
    """The queries at `path`; `DataError` for none of them, and for one without words."""
    from matryoshka_text.search.source import named_texts

    texts = [text for _, text in named_texts(path, column, None)]
    if not texts or (blank := next((n for n, text in enumerate(texts, 1) if not text.strip()), None)):
        raise DataError(
            f"{path}: found {f'an empty query in row {blank}' if texts else 'no queries'}; allowed: some words"
        )
    return texts


def _require_queries(path: Path, column: str) -> None:
    """`DataError` for queries that cannot be read: said before an index is built, not after."""
    if not _is_vectors(path):
        _texts_of(path, column)
        return
    from matryoshka_text.encoding.vectors import open_floats

    open_floats(path)


def _asked(queries: Path | None, column: str, index: "PrefixIndex", *, model: str | None, code: bool) -> Any:
    """The vectors of the queries, None if there are none."""
    return None if queries is None else _vectors_of(index, queries, column, model, code=code)


def _vectors_of(index: "PrefixIndex", path: Path, column: str, model: str | None, *, code: bool) -> Any:
    """The vectors of the queries at `path`: as they are, or their texts encoded."""
    if _is_vectors(path):
        from matryoshka_text.encoding.vectors import open_floats

        found = open_floats(path)
        return found[list(range(len(found)))]
    from matryoshka_text.search.asking import Asker

    return Asker(index, model, trust_remote_code=code)(_texts_of(path, column))


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
