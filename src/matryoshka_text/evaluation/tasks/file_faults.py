"""The data files of a folder that cannot be read, or hold no row."""

import csv
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, cast

from matryoshka_text.evaluation.tasks.places import DATA_ENDINGS

__all__ = ["file_faults"]


def file_faults(folder: Path) -> list[str]:
    """A line with file, what was found and what is allowed for each such file; of a file the first fault."""
    files = sorted(file for file in folder.rglob("*") if file.name.endswith(DATA_ENDINGS) and file.is_file())
    return [fault for file in files if (fault := _fault(file)) is not None]


def _fault(file: Path) -> str | None:
    if not file.stat().st_size:
        return f"{file}: is empty; at least one row is needed"
    name = file.name.removesuffix(".gz")
    check = _CHECKS[name[name.rindex(".") :]]
    try:
        return check(file)
    except UnicodeDecodeError as error:
        return f"{file}: found bytes that are not UTF-8 (at byte {error.start}); allowed: UTF-8"
    except (OSError, EOFError, zlib.error) as error:
        return f"{file}: cannot be read ({error}); allowed: {'a gzip file' if file.suffix == '.gz' else 'a whole file'}"


def _open(file: Path) -> TextIO:
    if file.suffix == ".gz":
        return cast("TextIO", gzip.open(file, "rt", encoding="utf-8-sig", newline=""))
    return file.open(encoding="utf-8-sig", newline="")


def _json_lines(file: Path) -> str | None:
    rows = 0
    with _open(file) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                what = f"{error.msg} at character {error.pos + 1}"
                return f"{file}:{number}: is no JSON: {what}; allowed: one JSON object a line"
            if not isinstance(row, dict):
                return f"{file}:{number}: holds {type(row).__name__}; allowed: one JSON object a line"
            rows += 1
    return None if rows else f"{file}: has no row; at least one row is needed"


def _json(file: Path) -> str | None:
    """Lines, or one document as some repositories have it."""
    with _open(file) as text:
        try:
            found = json.load(text)
        except json.JSONDecodeError:
            return _json_lines(file)
    return None if found else f"{file}: has no row; at least one row is needed"


def _csv(file: Path) -> str | None:
    with _open(file) as lines:
        rows = csv.reader(lines)
        try:
            header, first = next(rows, None), next(rows, None)
        except csv.Error as error:
            return f"{file}:{rows.line_num}: is no CSV: {error}; allowed: a header line and rows, commas between cells"
    if header is None or first is None:
        return f"{file}: has no row; a header line and at least one row are needed"
    return None


def _parquet(file: Path) -> str | None:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_metadata(file).num_rows
    except pyarrow.ArrowInvalid as error:
        return f"{file}: is no parquet file: {error}; allowed: a whole parquet file"
    return None if rows else f"{file}: has no row; at least one row is needed"


_CHECKS: dict[str, Callable[[Path], str | None]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
