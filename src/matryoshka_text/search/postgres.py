"""An index loaded into a table of PostgreSQL with pgvector, and its recall there."""

import hashlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field

from matryoshka_text.errors import RunError
from matryoshka_text.fingerprint import data_fingerprint
from matryoshka_text.progress import Progress
from matryoshka_text.search.asked import Asked, asked_of, recalls
from matryoshka_text.search.connection import connected, psycopg, required_extension
from matryoshka_text.search.copying import copy_blocks
from matryoshka_text.search.index import PrefixIndex
from matryoshka_text.search.plan import Plan
from matryoshka_text.search.sql import Ids, Sql
from matryoshka_text.search.stage import Stage

__all__ = ["Check", "Loaded", "found_by", "load"]

# Queries for the recall, and the fewest rows that it says something of.
_ASKED, _LEAST = 100, 40
_OURS = "matryoshka-text "


class Marker(BaseModel):
    """The comment of a table that was loaded: which index it holds. `stages` null: its index is not built yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=1, ge=1, le=1)
    weights: str | None = Field(description="sha256 of the model that made the vectors")
    width: int
    dims: tuple[int, ...]
    rotation: str | None = Field(description="sha256 of the index's rotation")
    contents: str = Field(description="sha256 over vectors, documents and deleted rows")
    texts: bool
    rows: int
    stages: tuple[Stage, ...] | None

    def __str__(self) -> str:
        model = "an unknown model" if self.weights is None else f"the model with sha256 {self.weights[:12]}"
        return f"{self.rows:,} rows of width {self.width} by {model}, contents {self.contents[:12]}"


@dataclass(frozen=True)
class Check:
    """Recall of the exact top `k` in the server and with FAISS by the same plan, and a query's median time there."""

    k: int
    queries: int
    recall: float
    faiss: float
    milliseconds: float
    uses_index: bool

    def __str__(self) -> str:
        how = "by its index" if self.uses_index else "by a scan of all rows"
        return (
            f"recall@{self.k} {self.recall:.3f} on {self.queries} queries (FAISS {self.faiss:.3f}), "
            f"{self.milliseconds:.1f} ms a query, {how}"
        )


@dataclass(frozen=True)
class Loaded:
    """What was done: `copied` and `built` False if it was there already. `check` None: the index has too few rows."""

    sql: Sql
    place: str
    rows: int
    copied: bool
    built: bool
    check: Check | None


def load(
    index: PrefixIndex,
    url: str,
    table: str = "documents",
    *,
    texts: bool = True,
    queries: Float32[np.ndarray, "q width"] | None = None,
    k: int = 10,
    progress: bool = False,
) -> Loaded:
    """Copy the rows of `index` into `table` at `url` (postgresql://…), build the index its plan needs, measure recall.

    Rows go in whole or not at all, in one transaction. A table that holds this index already is left as it is; after a
    kill while the index was built, and after tuning anew, only that is done. `queries` None: rows stand in.
    `RunError` for a server that cannot be used, and for a table that holds anything else; `DataError` for a plan that
    PostgreSQL cannot carry out.
    """
    texts = texts and index.corpus.has_texts
    ids: Ids = "bigint" if index.corpus.numbered else "text"
    sql = index.plan.sql(table, ids=ids, texts=texts, rows=len(index))
    marker = _marker(index, texts)
    with connected(url) as (connection, place):
        required_extension(connection, place, sql)
        there = _marker_of(connection, sql, place)
        copied = there is None
        if there is None:
            _copy(connection, index, sql, marker, progress=progress)
        elif marker != there.model_copy(update={"stages": None}):
            raise RunError(_other(sql, place, marker, there))
        built = there is None or there.stages != index.plan.stages
        if built:
            old = _old_index(there, table)
            _build(connection, sql, marker.model_copy(update={"stages": index.plan.stages}), old=old, progress=progress)
        check = None
        if (copied or built) and len(index) >= max(_LEAST, k + 1):
            asked = asked_of(index, None if queries is None else index.turned(queries), k, index.record.seed)
            check = _checked(connection, index, sql, asked.first(_ASKED), k=k)
    return Loaded(sql, place, len(index), copied=copied, built=built, check=check)


def found_by(
    connection: Any, sql: Sql, queries: Float32[np.ndarray, "q width"], k: int
) -> Iterator[tuple[list[Any], float]]:
    """By query (`turned`), the rows that the statement returns, and milliseconds."""
    with psycopg().RawCursor(connection) as cursor:
        for query in queries:
            start = time.perf_counter()
            with connection.transaction():
                for setting in sql.settings:
                    cursor.execute(setting)
                rows = cursor.execute(sql.query, (_literal(query), k)).fetchall()
            yield rows, 1000 * (time.perf_counter() - start)


def _literal(vector: Float32[np.ndarray, " width"]) -> str:
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def _marker(index: PrefixIndex, texts: bool) -> Marker:
    origin, rotation = index.record.origin, index.rotation
    contents = hashlib.sha256(index.deleted.tobytes())
    for name in index.record.segments:
        contents.update(data_fingerprint(index.folder / name).encode())
    return Marker(
        weights=origin.weights if origin else None,
        width=index.width,
        dims=index.dims,
        rotation=hashlib.sha256(rotation.matrix.tobytes()).hexdigest() if rotation else None,
        contents=contents.hexdigest(),
        texts=texts,
        rows=len(index),
        stages=None,
    )


def _marker_of(connection: Any, sql: Sql, place: str) -> Marker | None:
    """What the table says that it holds; None: there is no such table."""
    row = connection.execute(
        "SELECT obj_description(to_regclass(%s), 'pg_class') WHERE to_regclass(%s) IS NOT NULL", (sql.table, sql.table)
    ).fetchone()
    if row is None:
        return None
    comment = row[0] or ""
    try:
        if not comment.startswith(_OURS):
            raise ValueError
        return Marker.model_validate_json(comment.removeprefix(_OURS))
    except ValueError as error:
        raise RunError(
            f"{place}: there is a table {sql.table}, which `mtext index --to` has not made; give another "
            "name with --table"
        ) from error


def _other(sql: Sql, place: str, wanted: Marker, there: Marker) -> str:
    same = ("weights", "width", "rotation")
    changed = all(getattr(wanted, name) == getattr(there, name) for name in same)
    what = "this index as it was before it changed" if changed else "another index"
    return (
        f"{place}: the table {sql.table} holds {what} ({there}); this one has {wanted}. Rows are not kept in "
        f"step: give another name with --table, or drop it (DROP TABLE {sql.table}) and load again"
    )


def _copy(connection: Any, index: PrefixIndex, sql: Sql, marker: Marker, *, progress: bool) -> None:
    """The table, its rows and its comment, in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(sql.schema)
        columns, numbers = ", ".join(sql.columns), index.corpus.numbered
        with (
            Progress("copy", "rows", len(index), shown=progress) as bar,
            cursor.copy(f"COPY {sql.table} ({columns}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            for block in copy_blocks(index.corpus, sql.columns, numbers=numbers, without=index.deleted):
                copy.write(block.data)
                bar(block.rows)
        _comment(cursor, sql, marker)
    connection.execute(f"ANALYZE {sql.table}")


def _old_index(there: Marker | None, table: str) -> str | None:
    if there is None or there.stages is None:
        return None
    return Plan(stages=there.stages).sql(table, rows=there.rows).index_name


def _build(connection: Any, sql: Sql, marker: Marker, *, old: str | None, progress: bool) -> None:
    """The index of the plan, in place of the `old` one of an earlier plan."""
    with connection.transaction(), connection.cursor() as cursor:
        if old is not None and old != sql.index_name:
            cursor.execute(f"DROP INDEX IF EXISTS {old}")
        if sql.index is not None:
            with Progress("index", "rows", marker.rows, shown=progress) as bar:
                cursor.execute(sql.index)
                bar(marker.rows)
        _comment(cursor, sql, marker)


def _comment(cursor: Any, sql: Sql, marker: Marker) -> None:
    text = psycopg().sql.Literal(_OURS + marker.model_dump_json()).as_string(cursor)
    cursor.execute(f"COMMENT ON TABLE {sql.table} IS {text}")


def _checked(connection: Any, index: PrefixIndex, sql: Sql, asked: Asked, *, k: int) -> Check:
    own = [None] * len(asked.queries) if asked.own is None else index.corpus.column("id", asked.own)
    true = np.array(index.corpus.column("id", asked.truth.ravel()), dtype=object).reshape(asked.truth.shape)
    shares, times = [], []
    # A row that stands in for a query finds itself, which does not count.
    more = k if asked.own is None else k + 1
    for (rows, taken), self_id, right in zip(found_by(connection, sql, asked.queries, more), own, true, strict=True):
        found = [row[0] for row in rows if row[0] != self_id][:k]
        shares.append(len(set(found) & set(right)) / k)
        times.append(taken)
    return Check(
        k=k,
        queries=len(shares),
        recall=float(np.mean(shares)),
        faiss=float(recalls(index, index.plan, asked, k).mean()),
        milliseconds=statistics.median(times),
        uses_index=_uses_index(connection, sql, asked.queries[0], k),
    )


def _uses_index(connection: Any, sql: Sql, query: Float32[np.ndarray, " width"], k: int) -> bool:
    """Whether PostgreSQL reads the plan's index for a query, or finds a scan of all rows cheaper."""
    explained = found_by(connection, replace(sql, query=f"EXPLAIN {sql.query}"), query[None], k)
    lines = next(explained)[0]
    return sql.index_name is not None and any(sql.index_name.split(".")[-1].strip('"') in line[0] for line in lines)
