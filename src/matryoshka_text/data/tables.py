"""Rows of a local file, each with its place.

Local files are read directly, not through the `datasets` library: it caches what it has read and can serve a changed
file from its cache, its CSV reader turns "12" into a number and "NA" into nothing, and it gives no line numbers.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from matryoshka_text.data.faults import Faults
from matryoshka_text.data.formats import Row, csv_rows, json_rows, plain_rows, readable
from matryoshka_text.errors import DataError
from matryoshka_text.recipe.sources import PLAIN_SUFFIXES, SUFFIXES

__all__ = ["Table", "open_file", "path_of", "require_columns"]


@dataclass(frozen=True)
class Table:
    """Named columns and numbered rows: `label:number` is the place of a row.

    The number counts lines from 1 in .jsonl, .csv and .txt files (the header is line 1), and rows from 1 in .parquet
    files, in arrays in .json files, and on the hub.
    """

    label: str
    columns: tuple[str, ...]
    rows: Iterator[Row]

    def place(self, number: int) -> str:
        """Where row `number` is."""
        return f"{self.label}:{number}"


def path_of(file: str, folder: Path) -> Path:
    """The path that a recipe in `folder` means by `file`, relative to here where it lies below."""
    path = (folder / Path(file).expanduser()).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def open_file(path: Path, wanted: Sequence[str], key: str, faults: Faults) -> Table:
    """The table in `path`; broken lines become faults. `DataError` where the file is missing, unreadable or empty.

    `wanted` names the columns that will be used, `key` the recipe key that names the file.
    """
    if not path.is_file():
        raise DataError(_missing(path, key))
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1]
    with readable(path):
        if kind == "parquet":
            return _parquet(path, wanted)
        rows = _guarded(path, _rows_of(kind, path, faults))
        head = list(itertools.islice(rows, 100))
    if not head:
        faults.raise_any()
        raise DataError(f"{path}: found no rows; allowed: at least one; fill the file, or take it out of the recipe")
    # Not the first row alone: a JSON object leaves out what it has not.
    columns = dict.fromkeys(name for _, row in head for name in row)
    return Table(str(path), tuple(columns), itertools.chain(head, rows))


def _rows_of(kind: str, path: Path, faults: Faults) -> Iterator[Row]:
    if kind == "txt":
        return plain_rows(path)
    return csv_rows(path, faults) if kind == "csv" else json_rows(path, faults)


def require_columns(table: Table, columns: Mapping[str, str], key: str) -> None:
    """`DataError` naming each of `columns` (recipe key -> column) that the table does not have."""
    lines = []
    for role, column in columns.items():
        if column not in table.columns:
            close = get_close_matches(column, table.columns, n=1, cutoff=0.5)
            guess = f"write `{role.split('[')[0]}: {close[0]}`" if close else f"name the column that holds the {role}"
            lines.append(
                f"{key}.columns.{role}: found no column {column!r} in {table.label}; "
                f"allowed: {', '.join(table.columns)}; {guess}"
            )
    if lines:
        raise DataError("\n".join(lines))


def _missing(path: Path, key: str) -> str:
    if path.is_dir():
        return f"{key}: found the folder {path}; allowed: a file; name one of the files in it"
    suffixes = (*PLAIN_SUFFIXES, *SUFFIXES) if path.name.endswith(PLAIN_SUFFIXES) else SUFFIXES
    there = sorted(p.name for p in path.parent.glob("*") if p.name.endswith(suffixes))
    close = get_close_matches(path.name, there, n=3, cutoff=0.4) or there[:5]
    where = f"in {path.parent} there are {', '.join(close)}" if close else f"{path.parent} has no data files"
    return f"{key}: found no file {path}; allowed: an existing file (relative to the recipe's folder); {where}"


def _guarded(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    with readable(path):
        yield from rows


def _parquet(path: Path, wanted: Sequence[str]) -> Table:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: is no parquet file ({error}); allowed: a whole file; fetch it again") from error
    columns = tuple(file.schema_arrow.names)
    if not file.metadata.num_rows:
        raise DataError(f"{path}: found no rows; allowed: at least one; fill the file, or take it out of the recipe")
    used = [column for column in dict.fromkeys(wanted) if column in columns]

    def rows() -> Iterator[Row]:
        batches = file.iter_batches(columns=used) if used else iter(())
        try:
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)
        except pyarrow.ArrowException as error:
            raise DataError(f"{path}: is a broken parquet file ({error}); fetch it again") from error

    return Table(str(path), columns, _guarded(path, rows()))
