"""Rows of JSON lines and of JSON documents."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matryoshka_text.errors import DataError, shown
from matryoshka_text.reading.faults import Faults
from matryoshka_text.reading.files import kind_of, opened

__all__ = ["json_rows"]

_DEEPEST = 100


def json_rows(path: Path, faults: Faults) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each object with its number; what is not an object becomes a fault.

    Files of JSON lines have one object a line, and the number is the line's. A .json file may also be one document:
    an array of objects, `{"data": [objects]}`, pandas' `{"columns": […], "data": [lists of cells]}`, or one object.
    """
    document = _document(path) if kind_of(path) == "json" else None
    items = _lines(path, faults) if document is None else enumerate(document, start=1)
    for number, item in items:
        if not _is_shallow(item):
            found = f"found JSON nested more than {_DEEPEST} deep"
            faults.add(
                f"{path}:{number}", f"{found}; allowed: up to {_DEEPEST} objects and lists in each other; flatten it"
            )
        elif isinstance(item, dict):
            yield number, item
        else:
            faults.add(f"{path}:{number}", f"found {shown(item)}; allowed: an object with named texts; correct it")


def _lines(path: Path, faults: Faults) -> Iterator[tuple[int, Any]]:
    with opened(path, newline="") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                if line.strip():
                    what = f"found broken JSON ({_what(error)}); allowed: one JSON object a line; repair it"
                    faults.add(f"{path}:{number}", what)
                continue
            yield number, item


def _document(path: Path) -> list[Any] | None:
    """The rows of a file that is one JSON document; None for a file of JSON lines."""
    with opened(path, newline="") as text:
        first = next(filter(str.strip, text), "").strip()
        array = first.startswith("[")
        if not array and _is_row(first, more=any(map(str.strip, text))):
            return None
        text.seek(0)
        try:
            found = json.load(text)
        except (ValueError, RecursionError) as error:
            if not array:
                return None  # the faults are told line by line
            line = getattr(error, "lineno", 1)
            raise DataError(
                f"{path}:{line}: found broken JSON ({_what(error)}); allowed: one array of objects; repair it"
            ) from error
    return _rows_of(found)


def _is_row(first: str, *, more: bool) -> bool:
    """Whether the first line is a row: a whole object, and not the only line of a document with rows in it."""
    try:
        found = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return more or _rows_of(found) == [found]


def _rows_of(found: Any) -> list[Any]:
    if isinstance(found, list):
        return found
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not rows:
        return [found]
    names = found.get("columns")
    if isinstance(names, list) and all(isinstance(row, list) and len(row) == len(names) for row in rows):
        return [dict(zip(map(str, names), row, strict=True)) for row in rows]
    return rows if all(isinstance(row, dict) for row in rows) else [found]


def _is_shallow(item: Any) -> bool:
    """Whether at most `_DEEPEST` objects and lists are in each other: what reads them afterwards calls itself."""
    level = [item] if isinstance(item, dict | list) else []
    for _ in range(_DEEPEST):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [cell for cells in inner for cell in cells if isinstance(cell, dict | list)]
        if not level:
            return True
    return False


def _what(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = str(error).split(": line ")[0]
    return "a number of more than 4,300 digits" if text.startswith("Exceeds the limit") else text
