"""The rows of an index as PostgreSQL's COPY takes them in its binary format."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from matryoshka_text.errors import DataError
from matryoshka_text.search.corpus import BLOCK, Corpus

__all__ = ["Copied", "copy_blocks"]

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)


class Copied(NamedTuple):
    """Some bytes of the stream, and how many rows they end."""

    data: bytes
    rows: int


def copy_blocks(
    corpus: Corpus, columns: tuple[str, ...], *, numbers: bool, without: Int64[np.ndarray, " n"]
) -> Iterator[Copied]:
    """The stream for these columns (id, text, embedding), block by block, leaving out the rows `without`.

    `numbers`: ids are whole numbers. `DataError` for a text with a character that PostgreSQL cannot hold.
    """
    yield Copied(_HEADER, 0)
    start = 0
    for vectors in corpus.blocks(BLOCK):
        rows = np.setdiff1d(np.arange(start, start + len(vectors)), without, assume_unique=True)
        fields = [[_number(id) if numbers else _text(str(id)) for id in corpus.column("id", rows)]]
        if "text" in columns:
            fields.append([_text(text) for text in corpus.column("text", rows)])
        fields.append(_vectors(vectors[rows - start]))
        head = struct.pack(">h", len(columns))
        for place, column in enumerate(columns[:-1]):
            _require_text(fields[place], column, rows, numbers=numbers and column == "id")
        yield Copied(b"".join(head + b"".join(row) for row in zip(*fields, strict=True)), len(rows))
        start += len(vectors)
    yield Copied(_TRAILER, 0)


def _number(value: int) -> bytes:
    return struct.pack(">iq", 8, value)


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode()
    return struct.pack(">i", len(encoded)) + encoded


def _vectors(vectors: np.ndarray) -> list[bytes]:
    """A vector of pgvector: the number of dims, a reserved zero, and float32 with the high byte first."""
    width = vectors.shape[1]
    head = struct.pack(">ihH", 4 + 4 * width, width, 0)
    return [head + row.tobytes() for row in vectors.astype(">f4")]


def _require_text(fields: list[bytes], column: str, rows: Int64[np.ndarray, " n"], *, numbers: bool) -> None:
    bad = [] if numbers else [row for row, field in zip(rows.tolist(), fields, strict=True) if b"\0" in field[4:]]
    if bad:
        raise DataError(
            f"{column}s: found the character NUL in row {bad[0]:,} (from 0); allowed in PostgreSQL: any other; take it "
            "out and index again" + (", or load without texts (--no-texts)" if column == "text" else "")
        )
