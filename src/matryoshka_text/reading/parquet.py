"""Rows of a .parquet file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matryoshka_text.errors import DataError

__all__ = ["columns_of_schema", "parquet_columns", "parquet_rows"]

_ROWS = 1024  # in memory at a time


def parquet_columns(path: Path) -> tuple[tuple[str, ...], int]:
    """The names of the columns, those within a column by dots, and the number of rows."""
    import pyarrow.parquet as parquet

    with _whole(path), parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(f"{path}: found a column name twice, {repeated[0]!r}; allowed: different names; rename one")
        return columns_of_schema(file.schema_arrow), int(file.metadata.num_rows)


def columns_of_schema(schema: Any) -> tuple[str, ...]:
    """The names of an Arrow schema's columns, those within a column by dots."""
    return tuple(name for field in schema for name in _names(field, ""))


def parquet_rows(path: Path, used: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The cells of the `used` columns, row by row, counted from 1."""
    import pyarrow.parquet as parquet

    with _whole(path), parquet.ParquetFile(path) as file:
        batches = file.iter_batches(batch_size=_ROWS, columns=list(used))
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{path}: is a broken parquet file ({error}); allowed: a whole file; fetch or write it again"
        ) from error


def _names(field: Any, before: str) -> Iterator[str]:
    from pyarrow.types import is_struct

    if is_struct(field.type):
        for inner in field.type:
            yield from _names(inner, f"{before}{field.name}.")
    else:
        yield before + str(field.name)
