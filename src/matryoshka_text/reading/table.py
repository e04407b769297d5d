"""Rows of a local file, each with its place.

Local files are read directly, not through the `datasets` library: it caches what it has read and can serve a changed
file from its cache, its CSV reader turns "12" into a number and "NA" into nothing, and it gives no line numbers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import Any

from matryoshka_text.errors import DataError
from matryoshka_text.reading.cells import MISSING
from matryoshka_text.reading.delimited import csv_rows, tsv_rows
from matryoshka_text.reading.faults import Faults
from matryoshka_text.reading.files import is_plain, kind_of, lines_of, readable, require_file
from matryoshka_text.reading.json_rows import json_rows
from matryoshka_text.reading.parquet import columns_of_schema, parquet_columns, parquet_rows
from matryoshka_text.reading.saved import dataset_rows, opened_folder

__all__ = [
    "Row",
    "Table",
    "columns_of",
    "no_column",
    "no_rows",
    "open_table",
    "plain_rows",
    "require_columns",
    "table_of_dataset",
]

Row = tuple[int, Mapping[str, Any]]
_HEAD = 100
# What other projects call these columns.
_USUAL = {
    "anchor": ("query", "question"),
    "positive": ("pos", "answer", "document", "passage"),
    "negatives": ("neg", "negatives"),
}


@dataclass(frozen=True)
class Table:
    """Named columns and numbered rows: `label:number` is the place of a row.

    The number counts lines from 1 in .jsonl, .csv, .tsv and .txt files (the header is line 1), and rows from 1 in
    .parquet files, in .json files that are one document, in folders of `save_to_disk`, and on the hub. A column inside
    another is named by dots.
    """

    label: str
    columns: tuple[str, ...]
    rows: Iterator[Row]

    def place(self, number: int) -> str:
        """Where row `number` is."""
        return f"{self.label}:{number}"


def open_table(path: Path, faults: Faults, wanted: Sequence[str] | None = None, *, key: str = "") -> Table:
    """The table in `path`, streamed; broken lines become faults.

    Plain text is a table of one column, `text`: its lines, blanks at their ends taken off and blank ones left out.
    A folder that `save_to_disk` of the datasets library wrote is a table too.
    `wanted` names the columns that will be used (None: all), `key` the recipe key that names the file. `DataError` for
    a file that is missing, of no known kind, unreadable or empty.
    """
    require_file(path, key)
    if path.is_dir():
        dataset = opened_folder(path)
        if not len(dataset):
            raise no_rows(path)
        return table_of_dataset(str(path), dataset, wanted)
    kind = kind_of(path)
    with readable(path):
        if kind == "parquet":
            columns, count = parquet_columns(path)
            used = columns if wanted is None else [name for name in dict.fromkeys(wanted) if name in columns]
            rows: Iterator[Row] = parquet_rows(path, used) if used and count else iter(())
        else:
            rows = _READERS[kind](path, faults)
            head = list(islice(rows, _HEAD))
            # Not only the first row: a JSON object leaves out what it does not have.
            columns = tuple(dict.fromkeys(name for _, row in head for name in _names(row, "")))
            rows, count = chain(head, rows), len(head)
    if not count:
        faults.raise_any()
        raise no_rows(path)
    return Table(str(path), columns, _unnested(_guarded(path, rows), columns if wanted is None else wanted))


def table_of_dataset(label: str, dataset: Any, wanted: Sequence[str] | None = None) -> Table:
    """The table of a `datasets.Dataset`: of one in memory, from the hub or from a folder."""
    columns = columns_of_schema(dataset.features.arrow_schema)
    names = columns if wanted is None else wanted
    return Table(label, columns, _unnested(dataset_rows(dataset, names), names))


def columns_of(path: Path) -> tuple[str, ...] | None:
    """The columns of the file, by its first rows; None for plain text, which has none."""
    return None if is_plain(path.name) else open_table(path, Faults(), ()).columns


def require_columns(table: Table, columns: Mapping[str, str], key: str) -> None:
    """`DataError` naming each of `columns` (recipe key -> column) that the table does not have."""
    lines = []
    for role, column in columns.items():
        if column not in table.columns:
            found = _meant(role.split("[")[0], column, table.columns)
            guess = f"write `{found}`" if found else f"name the column that holds the {role}"
            lines.append(f"{key}.columns.{role}: {no_column(table, column, f' in {table.label}')}; {guess}")
    if lines:
        raise DataError("\n".join(lines))


def _meant(role: str, column: str, columns: Sequence[str]) -> str | None:
    """What to write in a recipe for the role, by the names of the columns that there are; None if none is like it."""
    numbered = [name for name in columns if re.fullmatch(rf"{re.escape(column)}s?_?\d+", name)]
    if role == "negatives" and len(numbered) > 1:
        return f"{role}: [{', '.join(numbered)}]"
    usual = [name for name in _USUAL.get(role, ()) if name in columns]
    close = usual or get_close_matches(column, columns, n=1, cutoff=0.5)
    return f"{role}: {close[0]}" if close else None


def no_column(table: Table, column: str, where: str = "") -> str:
    """What was found and what is allowed, if the table does not have the column."""
    return f"found no column {column!r}{where}; allowed: {', '.join(table.columns)}"


def no_rows(path: Path) -> DataError:
    """The error for an empty file."""
    return DataError(f"{path}: found no rows; allowed: at least one; fill the file, or leave it out")


def plain_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """Each line of plain text as a row, blanks at its ends taken off; blank lines give none."""
    for number, line in enumerate(lines_of(path), start=1):
        if text := line.strip():
            yield number, {"text": text}


_READERS = {"txt": plain_rows, "jsonl": json_rows, "json": json_rows, "csv": csv_rows, "tsv": tsv_rows}


def _guarded(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    with readable(path):
        yield from rows


def _names(row: Mapping[str, Any], before: str) -> Iterator[str]:
    for name, cell in row.items():
        if isinstance(cell, dict) and cell:
            yield from _names(cell, f"{before}{name}.")
        else:
            yield before + name


def _unnested(rows: Iterator[Row], names: Sequence[str]) -> Iterator[Row]:
    """The rows, with the cells inside other cells under their dotted names too."""
    dotted = [name for name in names if "." in name]
    for number, row in rows:
        inner = {name: _within(row, name) for name in dotted if name not in row}
        yield number, {**row, **{name: cell for name, cell in inner.items() if cell is not MISSING}} if inner else row


def _within(row: Mapping[str, Any], name: str) -> Any:
    cell: Any = row
    for part in name.split("."):
        if not isinstance(cell, Mapping) or part not in cell:
            return MISSING
        cell = cell[part]
    return cell
