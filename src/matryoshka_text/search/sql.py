"""The stages of a plan as statements for PostgreSQL with pgvector."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matryoshka_text.errors import DataError
from matryoshka_text.search.stage import Stage, narrowing
from matryoshka_text.search.structures import ADDING, LINKS, lists_for

__all__ = ["Ids", "Sql", "sql_of"]

Ids = Literal["text", "bigint"]

# How pgvector stores what an index reads, by our precision: type, operator class, operator, most dims of an index.
# It has no type of 8 bits; halfvec has 16. subvector does not bring prefixes to unit length, so <=> divides by it.
_FORMS = {
    "float32": ("vector", "vector_cosine_ops", "<=>", 2_000),
    "int8": ("halfvec", "halfvec_cosine_ops", "<=>", 4_000),
    "binary": ("bit", "bit_hamming_ops", "<~>", 64_000),
}
_WIDEST, _MOST_OPEN, _MOST_LISTS, _VISITED = 16_000, 1_000, 32_768, 20_000
_NAME = re.compile(r"(?:([a-z_][a-z0-9_]{0,39})\.)?([a-z_][a-z0-9_]{0,39})")
# What the script shows for $1 and $2 of the query.
_VECTOR = "$1::vector"


@dataclass(frozen=True)
class Sql:
    """One plan's statements. `str` of it is a script; `notes` say what differs from the plan.

    `query` has two parameters: $1, a query vector as the index compares it (`PrefixIndex.turned`), and $2, how many
    rows to return. It has to run in one transaction with `settings`.
    """

    table: str
    columns: tuple[str, ...]
    extension: str
    schema: str
    index_name: str | None
    index: str | None
    settings: tuple[str, ...]
    query: str
    notes: tuple[str, ...]

    def __str__(self) -> str:
        notes = "".join(f"-- {note}\n" for note in self.notes)
        index = "" if self.index is None else f"-- After the rows are in:\n{self.index};\n"
        settings = "".join(f"{line};\n" for line in self.settings)
        return (
            f"{notes}{self.extension};\n{self.schema};\n\n{index}\n-- A search: $1 is the query's vector, $2 how many "
            f"rows to return.\nBEGIN;\n{settings}{self.query};\nCOMMIT;\n"
        )


def sql_of(stages: Sequence[Stage], table: str, *, ids: Ids, texts: bool, rows: int | None) -> Sql:
    """The statements; `DataError` for a name or a plan that PostgreSQL cannot take."""
    found = _NAME.fullmatch(table)
    if found is None:
        raise DataError(
            f"table: found {table!r}; allowed: a name of a-z, 0-9 and _, at most 40 characters, or schema.name"
        )
    schema, name = found.groups()
    quoted = f'"{schema}"."{name}"' if schema else f'"{name}"'
    first, width = stages[0], stages[-1].dim
    if width > _WIDEST:
        raise DataError(f"plan: found vectors of {width:,} dims; allowed in PostgreSQL: at most {_WIDEST:,}")
    indexed = first.structure != "flat"
    index_name = f"{name}_{first.structure}_{first.dim}_{first.precision}" if indexed else None
    columns = ("id", *(("text",) if texts else ()), "embedding")
    kinds = {"id": f"{ids} PRIMARY KEY", "text": "text", "embedding": f"vector({width}) NOT NULL"}
    return Sql(
        table=quoted,
        columns=columns,
        extension="CREATE EXTENSION IF NOT EXISTS vector",
        schema=f"CREATE TABLE {quoted} (" + ", ".join(f"{column} {kinds[column]}" for column in columns) + ")",
        index_name=f'"{schema}"."{index_name}"' if schema and indexed else f'"{index_name}"' if indexed else None,
        index=_index(first, f'"{index_name}"', quoted, rows) if indexed else None,
        settings=_settings(first, rows),
        query=_query(stages, quoted, columns),
        notes=tuple(_notes(first)),
    )


def _form(stage: Stage) -> tuple[str, str, str, int]:
    """A scan without an index reads the column, which is float32: codes of 8 bits would have to be made of it."""
    return _FORMS["float32" if stage.structure == "flat" and stage.precision == "int8" else stage.precision]


def _operand(vector: str, stage: Stage) -> str:
    """A stage's prefix of `vector`. The cast is what tells an index how many dims it has."""
    kind, prefix = _form(stage)[0], f"subvector({vector}, 1, {stage.dim})"
    return f"binary_quantize({prefix})::bit({stage.dim})" if kind == "bit" else f"{prefix}::{kind}({stage.dim})"


def _index(stage: Stage, name: str, table: str, rows: int | None) -> str:
    if stage.structure == "pq":
        raise DataError(
            "plan: found pq; PostgreSQL has no product codes: allowed flat, hnsw, ivf; tune for one of them"
        )
    kind, operators, _, most = _form(stage)
    if stage.dim > most:
        raise DataError(
            f"plan: found an index on {stage.dim:,} dims of {kind}; allowed in pgvector: at most {most:,}; use a "
            "shorter prefix, int8 (halfvec, 4,000), binary (bit, 64,000), or flat"
        )
    method, options = "hnsw", f"m = {LINKS}, ef_construction = {ADDING}"
    if stage.structure == "ivf":
        method, options = "ivfflat", f"lists = {_lists(rows)}"
    return (
        f"CREATE INDEX IF NOT EXISTS {name} ON {table}\n"
        f"    USING {method} (({_operand('embedding', stage)}) {operators}) WITH ({options})"
    )


def _lists(rows: int | None) -> int:
    """As pgvector advises. To learn as many lists as FAISS does, it would need gigabytes for a million rows."""
    if rows is None:
        raise DataError("rows: are missing; ivf needs the number of rows of the table for the number of its lists")
    return min(_MOST_LISTS, math.isqrt(rows) if rows > 1_000_000 else max(1, rows // 1000))


def _settings(stage: Stage, rows: int | None) -> tuple[str, ...]:
    """For the transaction of a query. By default hnsw finds 40 rows and ivf reads one list."""
    if stage.structure == "ivf" and rows is not None:
        share = min(1.0, (stage.effort or 1) / lists_for(rows))
        return (f"SET LOCAL ivfflat.probes = {math.ceil(share * _lists(rows))}",)
    if stage.structure != "hnsw":
        return ()
    open_at_a_time = max(stage.effort or 0, stage.keep or 0)
    settings = [f"SET LOCAL hnsw.ef_search = {min(_MOST_OPEN, open_at_a_time)}"]
    if stage.keep is None or stage.keep > _MOST_OPEN:
        # The walk goes on until the shortlist is full. It needs pgvector 0.8.
        settings.append("SET LOCAL hnsw.iterative_scan = relaxed_order")
        settings.append(f"SET LOCAL hnsw.max_scan_tuples = {max(_VISITED, 4 * (stage.keep or 0))}")
    return tuple(settings)


def _query(stages: Sequence[Stage], table: str, columns: Sequence[str]) -> str:
    """Each stage is a query round the one before. The vector is a parameter: from a CTE, no index would be used."""
    asked = f"{_VECTOR}({stages[-1].dim})"
    source, names = table, ", ".join(columns)
    for place, stage in enumerate(narrowing(stages), start=1):
        operator = _form(stage)[2]
        order = f"{_operand('embedding', stage)} {operator} {_operand(asked, stage)}"
        inner = f"SELECT {names} FROM {source}\nORDER BY {order}\nLIMIT {stage.keep or '$2'}"
        source = "(\n" + "".join(f"    {line}\n" for line in inner.split("\n")) + f") AS stage_{place}"
    shown = ", ".join(columns[:-1])
    return (
        f"SELECT {shown}, 1 - (embedding <=> {asked}) AS score FROM {source}\nORDER BY embedding <=> {asked}\nLIMIT $2"
    )


def _notes(stage: Stage) -> list[str]:
    notes = []
    if stage.structure == "flat":
        notes.append("flat: no index. PostgreSQL reads whole rows whatever the prefix; an index (hnsw, ivf) is faster.")
    if stage.structure == "ivf":
        notes.append("ivf: fewer and longer lists than in FAISS, as pgvector advises; the same share of them is read.")
    if stage.precision == "int8":
        where = "the float32 column is read" if stage.structure == "flat" else "halfvec, of 16 bits, is used"
        notes.append(f"int8: pgvector has no type of 8 bits; {where}.")
    if stage.structure == "hnsw" and (stage.keep is None or stage.keep > _MOST_OPEN):
        notes.append(f"hnsw: more than {_MOST_OPEN:,} rows, or as many as are asked for, need pgvector 0.8.")
    return notes
