"""One training source as rows of texts, with what else is known of each row."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from heapq import nsmallest
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from matryoshka_text.data.columns import Example, TextColumn, columns_in, mapped, table_of
from matryoshka_text.data.hub import open_hub
from matryoshka_text.data.kinds import column_names, examples_in
from matryoshka_text.data.vectors import read_vectors
from matryoshka_text.errors import DataError
from matryoshka_text.files import cache_folder, expanded, sha256_of
from matryoshka_text.reading import Faults, Table, open_table, require_columns
from matryoshka_text.reading.files import readable
from matryoshka_text.reading.saved import is_saved
from matryoshka_text.recipe import HeldOut, Source

__all__ = ["SourceRows", "open_section", "path_of", "read_source", "sampled"]

# Counted up if the tables that are kept change.
_FORM = 1


@dataclass(frozen=True)
class SourceRows:
    """The examples of one source, a row of `table` each (see `columns.table_of`).

    Its texts are (anchor, positive, negative…) of pairs, (text,) of single texts, (sentence1, sentence2) of scored
    pairs. `vectors` are a teacher's, an array for each column of texts.
    """

    label: str
    table: pa.Table
    vectors: tuple[Float[np.ndarray, "rows width"], ...] | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def columns(self) -> tuple[TextColumn, ...]:
        """The texts, role by role."""
        return columns_in(self.table)

    @property
    def negatives(self) -> int:
        """Hard negatives of each example of pairs or triplets."""
        return len(self.columns) - 2

    @property
    def numbers(self) -> Int[np.ndarray, " rows"]:
        """The number of each example's row in its file."""
        return np.asarray(self.table["number"].to_numpy())

    @property
    def values(self) -> list[str | float] | None:
        """The classes of labelled texts (as texts) or the scores of scored pairs."""
        return self.table["value"].to_pylist() if "value" in self.table.column_names else None

    def texts(self) -> Iterator[tuple[str, ...]]:
        """The texts of one example after the other."""
        return zip(*self.columns, strict=True)


def read_source(source: Source, folder: Path, *, key: str = "data", seed: int = 0) -> SourceRows:
    """The examples of `source`, whose files are relative to `folder`; `DataError` with the faults' places.

    `key` is the source's key in the recipe, for messages. With `rows`, a sample drawn by `seed`, in file order. A
    mined source gives its single texts: pairs need a model. What a large file gives is kept in the folder of
    `cache_folder`, under a name made of the file's content and how it is read; the next time it is only mapped.
    """
    path = path_of(source.file, folder) if source.file is not None else None
    kept = _kept(path, source) if path is not None and (path.is_file() or is_saved(path)) else None
    table = mapped(kept) if kept is not None else None
    label = str(path)
    if table is None:
        faults = Faults()
        opened = open_section(source, folder, faults, key=key)
        require_columns(opened, column_names(source), key)
        label = opened.label
        table = table_of(_faultless(examples_in(opened, source, faults), faults), kept)
    if not table.num_rows:
        what = "premise with both an entailed and a contradicted hypothesis" if source.kind == "nli" else "rows"
        raise DataError(f"{label}: found no {what}; allowed: at least one; use more data, or another kind")
    vectors = _vectors_of(source, table, folder, key)
    if source.rows is not None and source.rows < table.num_rows:
        chosen = sampled(table.num_rows, source.rows, f"{seed}:{source.name}")
        table = table.take(pa.array(chosen))
        vectors = tuple(column[chosen] for column in vectors) if vectors is not None else None
    return SourceRows(label, table, vectors)


def _faultless(examples: Iterator[Example], faults: Faults) -> Iterator[Example]:
    """The examples, then `DataError` if any row was wrong: a table with faults is never kept."""
    yield from examples
    faults.raise_any()


def _kept(path: Path, source: Source) -> Path:
    with readable(path):
        content = sha256_of(path)
    told = json.dumps([_FORM, path.name.partition(".")[2], content, source.kind, column_names(source)])
    return cache_folder() / "sources" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.arrow"


def open_section(section: Source | HeldOut, folder: Path, faults: Faults, *, key: str) -> Table:
    """The table that `section` names, from a file or from the hub."""
    wanted = tuple(column_names(section).values())
    if section.file is not None:
        return open_table(path_of(section.file, folder), faults, wanted, key=f"{key}.file")
    return open_hub(section, wanted, key)


def path_of(file: str, folder: Path) -> Path:
    """The path that a recipe in `folder` means by `file`, relative to the working folder if it lies below it."""
    path = (folder / expanded(file)).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def sampled(count: int, most: int | None, salt: str) -> list[int]:
    """Which of `count` rows a sample of at most `most` takes, ascending.

    The rows with the smallest sha256 of "salt:row": the same on every machine and with every version of every library.
    """
    if most is None or count <= most:
        return list(range(count))
    return sorted(nsmallest(most, range(count), key=lambda row: hashlib.sha256(f"{salt}:{row}".encode()).digest()))


def _vectors_of(
    source: Source, table: pa.Table, folder: Path, key: str
) -> tuple[Float[np.ndarray, "rows width"], ...] | None:
    """The teacher's vectors of all examples, before any sample is taken: their order is that of the file."""
    if source.vectors is None:
        return None
    negatives = (f"negative_{index}" for index in range(len(columns_in(table)) - 2))
    path = path_of(source.vectors, folder)
    return read_vectors(path, ("anchor", "positive", *negatives), rows=table.num_rows, key=f"{key}.vectors")
