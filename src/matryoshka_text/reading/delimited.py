"""Rows of comma-separated, semicolon-separated and tab-separated values below a header."""

import csv
import logging
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from matryoshka_text.errors import DataError
from matryoshka_text.reading.faults import Faults
from matryoshka_text.reading.files import lines_of, opened

__all__ = ["csv_rows", "tsv_rows"]

_Numbered = Iterator[tuple[int, list[str]]]
log = logging.getLogger(__name__)
_WARNED: set[Path] = set()
# Lines that one quoted cell of a .tsv file may go over.
_LONGEST = 100
# The csv module refuses cells above 128 KiB by default; a long document is not a fault.
csv.field_size_limit(2**31 - 1)


def csv_rows(path: Path, faults: Faults) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Each row with the line it begins in; rows of another length become faults.

    Cells are separated by commas. If the header has none, they are separated by its semicolons or tabs.
    """
    # newline="" keeps line breaks inside quoted cells.
    with opened(path, newline="") as lines:
        header = next(lines, "")
        reader = csv.reader(chain([header], lines), delimiter=_delimiter(header), strict=True)
        number = 1

        def numbered() -> _Numbered:
            nonlocal number
            for cells in reader:
                yield number, cells
                number = reader.line_num + 1

        try:
            yield from _rows(path, numbered(), faults)
        except csv.Error as error:
            raise DataError(
                f"{path}:{number}: found broken CSV ({error}); allowed: quoted cells end; repair it"
            ) from error


def tsv_rows(path: Path, faults: Faults) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Each row with the line it begins in; rows of another length become faults.

    A cell in quotes is read as in CSV: the quotes go, doubled ones stay once, tabs and line breaks may be inside. Any
    other quote is part of its cell, at the beginning of one too. A warning names the first row that both readings fit.
    """
    return _rows(path, _by_tabs(path, enumerate(lines_of(path), start=1)), faults)


def _delimiter(header: str) -> str:
    for mark in ",;\t":
        if len(next(csv.reader([header], delimiter=mark), [])) > 1:
            return mark
    return ","


def _rows(path: Path, numbered: _Numbered, faults: Faults) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows below the header. A blank line is passed over; in a table of one column it is an empty cell."""
    header = next((cells for _, cells in numbered if cells), [])
    width = len(header)
    if len(set(header)) != width:
        raise DataError(f"{path}:1: found a column name twice in {header}; allowed: different names; rename one")
    blank: list[int] = []  # those at the end of a file are usual, and no rows
    for number, cells in numbered:
        if len(cells) > width and not any(cells[width:]):
            cells = cells[:width]
        if len(cells) == width:
            if blank:
                yield from ((line, {header[0]: ""}) for line in blank)
                blank = []
            yield number, dict(zip(header, cells, strict=True))
        elif cells:
            what = f"found {len(cells)} cells; allowed: {width}, as in the header; add or quote cells"
            faults.add(f"{path}:{number}", what)
        elif width == 1:
            blank.append(number)


def _by_tabs(path: Path, lines: Iterator[tuple[int, str]]) -> _Numbered:
    width = 0
    while (here := next(lines, None)) is not None:
        number, line = here
        cells = line.split("\t") if line else []
        if '"' in line and any(cell.startswith('"') for cell in cells):
            whole = _quoted(line)
            if whole is None and width > 1:
                whole, lines = _over_lines(line, width, lines)
            # If both readings fit a row, quotes are those of CSV; otherwise the one that fits.
            if whole and (len(whole) == width or len(cells) != width):
                if len(cells) == len(whole) and '""' not in line:
                    _warn_of_quotes(path, number)
                cells = whole
        width = width or len(cells)
        yield number, cells


def _warn_of_quotes(path: Path, number: int) -> None:
    """Tell it once of a file, which may be read several times."""
    if path not in _WARNED:
        _WARNED.add(path)
        log.warning(
            "%s:%d: found a cell in quotes, which is read without them, as in CSV; if they are part of the text, write "
            'them twice within quotes ("""so""")', path, number,
        )  # fmt: skip


def _over_lines(
    line: str, width: int, lines: Iterator[tuple[int, str]]
) -> tuple[list[str] | None, Iterator[tuple[int, str]]]:
    """The `width` cells of a row that goes on in the next lines, and the lines behind it; None if it does not."""
    taken: list[tuple[int, str]] = []
    for one in islice(lines, _LONGEST):
        taken.append(one)
        if '"' not in one[1]:
            continue
        cells = _quoted("\n".join([line, *(text for _, text in taken)]))
        if cells is not None:
            if len(cells) == width:
                return cells, lines
            break
    return None, chain(taken, lines)


def _quoted(text: str) -> list[str] | None:
    """The cells of one row by the rules of CSV; None if it breaks them, and so is not quoted."""
    try:
        return next(csv.reader([text], delimiter="\t", strict=True))
    except csv.Error:
        return None
