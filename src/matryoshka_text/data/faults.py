"""Faults of a data set, collected: the first ten are told, the others counted."""

from collections.abc import Mapping
from typing import Any

from matryoshka_text.errors import DataError
from matryoshka_text.recipe.wording import shown

__all__ = ["MISSING", "Faults", "text_of"]

MISSING = object()  # a cell that its row does not have, which is not the same as null


class Faults:
    """What is wrong with one data set."""

    def __init__(self, most: int = 10) -> None:
        self.most = most
        self.count = 0
        self._lines: list[str] = []

    def add(self, place: str, text: str) -> None:
        """Record `place: text`."""
        self.count += 1
        if len(self._lines) < self.most:
            self._lines.append(f"{place}: {text}")

    def raise_any(self) -> None:
        """`DataError` with one line per fault, where there is any."""
        if not self.count:
            return
        more = self.count - len(self._lines)
        raise DataError("\n".join([*self._lines, *([f"and {more} more faults of this data set"] if more else [])]))


def text_of(row: Mapping[str, Any], column: str, role: str, place: str, faults: Faults) -> str | None:
    """The text in `column` of `row`; None, and a fault, where it is missing, no text, or blank."""
    cell = row.get(column, MISSING)
    if isinstance(cell, str) and cell.strip():
        if _is_unicode(cell):
            return cell
        what, way_out = "a text with half a surrogate pair", "write the character whole"
    elif isinstance(cell, str):
        what, way_out = ("a text of blanks" if cell else "an empty text"), "fill the cell, or delete the row"
    elif cell is MISSING:
        what, way_out = "no such cell", "add it, or delete the row"
    else:
        kind = "" if cell is None else f" ({type(cell).__name__})"
        what, way_out = f"{shown(cell)}{kind}", "write a text there, or delete the row"
    faults.add(place, f"{role} (column {column!r}): found {what}; allowed: a text that is not blank; {way_out}")
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
