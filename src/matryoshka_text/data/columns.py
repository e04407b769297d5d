"""Examples in columns, as Arrow holds them: in memory, or in a file that is mapped into memory."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from matryoshka_text.data.draw import plain
from matryoshka_text.files import locked, sweep, whole_file

__all__ = ["Example", "TextColumn", "columns_in", "mapped", "table_of"]

# Examples that are made into Arrow's arrays at a time, and the bytes of them that stay in memory.
_AT_ONCE = 8192
_IN_MEMORY = 32 * 2**20


class Example(NamedTuple):
    """The texts of one example, the number of its row, and what else is known of it: its class, or its score."""

    number: int
    texts: tuple[str, ...]
    value: str | float | None = None


@dataclass(frozen=True, eq=False)
class TextColumn(Sequence[str]):
    """The texts that play one role, a text of each example.

    `lengths` are in characters. `keys` are hashes of 64 bits, equal for texts that are equal, case and blanks aside.
    """

    texts: pa.ChunkedArray
    lengths: Int[np.ndarray, " rows"]
    keys: Int[np.ndarray, " rows"]

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            found: list[str] = self.texts[place].to_pylist()
            return found
        return str(self.texts[int(place)].as_py())

    def __iter__(self) -> Iterator[str]:
        for chunk in self.texts.chunks:
            yield from chunk.to_pylist()


def columns_in(table: pa.Table) -> tuple[TextColumn, ...]:
    """The columns of texts of a table that `table_of` made, or of several of them one after the other."""
    count = sum(name.startswith("text_") for name in table.column_names)
    return tuple(
        TextColumn(table[f"text_{i}"], table[f"length_{i}"].to_numpy(), table[f"key_{i}"].to_numpy())
        for i in range(count)
    )


def table_of(examples: Iterable[Example], path: Path | None = None) -> pa.Table:
    """The examples with lengths and keys of their texts; more than 32 MB of them are written to `path` and mapped.

    None as `path`: all stay in memory. Every example has as many texts as the first. Two processes that write one
    file wait for one another, and the second reads what the first has written.
    """
    blocks, size = list[pa.RecordBatch](), 0
    coming = _blocks(iter(examples))
    for block in coming:
        blocks.append(block)
        size += block.nbytes
        if path is not None and size > _IN_MEMORY:
            return _written(chain(blocks, coming), path)
    return pa.Table.from_batches(blocks) if blocks else pa.table({})


def mapped(path: Path) -> pa.Table | None:
    """The table in `path`, which takes memory only where it is read; None if there is none, or a damaged one."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException):
        return None


def _written(blocks: Iterator[pa.RecordBatch], path: Path) -> pa.Table:
    with locked(path):
        found = mapped(path)
        if found is None:
            sweep(path.parent, f".{path.name}.*.part")
            first = next(blocks)
            with whole_file(path) as out, pa.ipc.new_file(out, first.schema) as writer:
                for block in chain([first], blocks):
                    writer.write_batch(block)
            del first
            found = mapped(path)
    assert found is not None
    return found


def _blocks(examples: Iterator[Example]) -> Iterator[pa.RecordBatch]:
    while rows := list(islice(examples, _AT_ONCE)):
        arrays: dict[str, Any] = {"number": pa.array([row.number for row in rows], pa.int64())}
        for i, texts in enumerate(zip(*(row.texts for row in rows), strict=True)):
            arrays[f"text_{i}"] = pa.array(texts, pa.large_string())
            arrays[f"length_{i}"] = pa.array(list(map(len, texts)), pa.int32())
            arrays[f"key_{i}"] = pa.array(np.frombuffer(b"".join(map(_key, texts)), dtype=np.int64))
        if rows[0].value is not None:
            arrays["value"] = pa.array([row.value for row in rows])
        yield pa.RecordBatch.from_pydict(arrays)


def _key(text: str) -> bytes:
    return hashlib.blake2b(plain(text).encode(), digest_size=8).digest()
