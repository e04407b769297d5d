"""Rows of JSON lines, JSON arrays, CSV and plain text, with the line each begins in."""

import csv
import gzip
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from matryoshka_text.data.faults import Faults
from matryoshka_text.errors import DataError
from matryoshka_text.recipe.wording import shown

__all__ = ["Row", "csv_rows", "json_rows", "plain_rows", "readable"]

Row = tuple[int, Mapping[str, Any]]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A block whose failures to read `path` become `DataError`."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: found bytes that are not UTF-8 ({error.reason}); save it as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        way_out = "fetch or pack the file again" if path.suffix in (".gz", ".parquet") else "check the file"
        raise DataError(f"{path}: cannot be read ({error}); allowed: a whole file; {way_out}") from error


def _open(path: Path) -> IO[str]:
    # newline="" keeps line breaks inside quoted CSV cells; utf-8-sig takes a byte order mark away.
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def json_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """Each object of a file of JSON lines, or of an array in a .json file; what is no object becomes a fault."""
    with _open(path) as lines:
        if path.name.removesuffix(".gz").endswith(".json") and _starts_with_bracket(path):
            items = _array(lines.read(), path)
        else:
            items = _lines(lines, path, faults)
        for number, item in items:
            if isinstance(item, dict):
                yield number, item
            else:
                faults.add(f"{path}:{number}", f"found {shown(item)}; allowed: an object with named texts; correct it")


def _starts_with_bracket(path: Path) -> bool:
    with _open(path) as text:
        return any(line.lstrip().startswith("[") for line in itertools.islice(filter(str.strip, text), 1))


def _array(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    try:
        items = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise DataError(
            f"{path}:{line}: found broken JSON ({error}); allowed: one array of objects; repair it"
        ) from error
    yield from enumerate(items, start=1)


def _lines(lines: IO[str], path: Path, faults: Faults) -> Iterator[tuple[int, Any]]:
    blank = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            blank = blank or number
            continue
        if blank:  # blank lines at the end of a file are usual, a blank row between others is not
            faults.add(f"{path}:{blank}", "found an empty row; allowed: one JSON object a line; delete the line")
            blank = 0
        try:
            yield number, json.loads(line)
        except ValueError as error:
            what = str(error).split(": line ")[0]
            faults.add(f"{path}:{number}", f"found broken JSON ({what}); allowed: one JSON object a line; repair it")


def csv_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """Each row of a CSV file with a header; rows of another length become faults."""
    # The csv module refuses cells above 128 KiB by default; a long document is no fault.
    csv.field_size_limit(2**31 - 1)
    with _open(path) as lines:
        reader = csv.reader(lines, strict=True)
        header = next(reader, [])
        if len(set(header)) != len(header):
            raise DataError(f"{path}:1: found a column name twice in {header}; allowed: different names; rename one")
        blank = 0
        for number, cells in _numbered(reader, path):
            if not cells:
                blank = blank or number
                continue
            if blank:
                faults.add(f"{path}:{blank}", "found an empty row; allowed: a row of cells; delete the line")
                blank = 0
            if len(cells) == len(header):
                yield number, dict(zip(header, cells, strict=True))
            else:
                what = f"found {len(cells)} cells; allowed: {len(header)}, as in the header; add or quote cells"
                faults.add(f"{path}:{number}", what)


def plain_rows(path: Path) -> Iterator[Row]:
    """Each line of plain text as a row with one cell, `text`, blanks at its ends taken off; blank lines give none."""
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            if text := line.strip():
                yield number, {"text": text}


def _numbered(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    number = reader.line_num + 1
    try:
        for cells in reader:
            yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{number}: found broken CSV ({error}); allowed: quoted cells end; repair it") from error
