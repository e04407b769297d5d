"""What a row says: texts, a class, a score."""

import math
import re
from collections.abc import Mapping
from typing import Any

from matryoshka_text.errors import shown
from matryoshka_text.reading.faults import Faults

__all__ = ["MISSING", "Cells"]

MISSING = object()  # a cell that its row does not have, which is not the same as null
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_GONE = ("no such cell", "add it, or delete the row")


class Cells:
    """Reads the cells of rows by role. What is wrong becomes a fault: `label:number: role (column 'x'): found …`.

    `columns` says which column plays which role. Rows of the `hub` mark an unknown class with -1.
    """

    def __init__(self, label: str, columns: Mapping[str, str], faults: Faults, *, hub: bool = False) -> None:
        self._label, self._columns, self._faults, self._hub = label, columns, faults, hub

    def text(self, row: tuple[int, Mapping[str, Any]], role: str, *, blank: bool = False) -> str | None:
        """The text that plays `role`; None, and a fault, if it is missing, not a text, or (unless allowed) blank."""
        number, cells = row
        column = self._columns[role]
        cell = cells.get(column, MISSING)
        if isinstance(cell, str) and (blank or cell.strip()) and is_unicode(cell):
            return cell
        return self.text_of(cell, number, _named(role, column), blank=blank)

    def texts(self, row: tuple[int, Mapping[str, Any]], role: str, *, none: bool = False) -> list[str] | None:
        """The texts of the cell that plays `role`, which is a text or a list of texts.

        None, and a fault, if one of them is missing, not a text or blank, or (unless `none` is allowed) the list empty.
        """
        number, cells = row
        column = self._columns[role]
        cell = cells.get(column, MISSING)
        if not isinstance(cell, list):
            text = self.text(row, role)
            return None if text is None else [text]
        if not cell and not none:
            text = "found an empty list; allowed: at least one text; add one, or delete the row"
            self._faults.add(f"{self._label}:{number}", f"{_named(role, column)}: {text}")
        found = [self.text_of(one, number, _named(role, f"{column}[{i}]")) for i, one in enumerate(cell)]
        texts = [text for text in found if text is not None]
        return texts if len(texts) == len(cell) and (texts or none) else None

    def text_of(self, cell: object, number: int, what: str, *, blank: bool = False) -> str | None:
        """The same of a cell that was taken out of row `number`; `what` names it."""
        if isinstance(cell, str) and not is_unicode(cell):
            found, way_out = "a text with half a surrogate pair", "write the character whole"
        elif isinstance(cell, str) and (blank or cell.strip()):
            return cell
        elif isinstance(cell, str):
            found, way_out = ("a text of blanks" if cell else "an empty text"), "fill the cell, or delete the row"
        elif cell is MISSING:
            found, way_out = _GONE
        else:
            found, way_out = _with_type(cell), "write a text there, or delete the row"
        allowed = "a text" if blank else "a text that is not blank"
        self._faults.add(f"{self._label}:{number}", f"{what}: found {found}; allowed: {allowed}; {way_out}")
        return None

    def class_name(self, row: tuple[int, Mapping[str, Any]], role: str = "label") -> str | None:
        """The class that plays `role`: a name, a whole number, or true or false (as 1 and 0), as a text.

        None, and a fault, for anything else; on the hub also for -1.
        """
        number, cells = row
        cell = cells.get(self._columns[role], MISSING)
        if isinstance(cell, str):
            name = self.text(row, role)
            return name.strip() if name is not None else None
        unknown = self._hub and cell == -1
        if isinstance(cell, int) and not unknown:
            return str(int(cell))
        if cell is MISSING:
            found, way_out = _GONE
        elif unknown:
            found, way_out = "-1, which stands for no label on the hub", "use a split that has labels"
        else:
            found, way_out = _with_type(cell), "fill the cell, or delete the row"
        text = f"found {found}; allowed: a text or a whole number; {way_out}"
        self._faults.add(f"{self._label}:{number}", f"{_named(role, self._columns[role])}: {text}")
        return None

    def score(self, row: tuple[int, Mapping[str, Any]], role: str = "score") -> float | None:
        """The finite number that plays `role`, "0,5" included; None, and a fault, if there is none."""
        number, cells = row
        cell = cells.get(self._columns[role])
        score = _number(cell)
        if score is None or not math.isfinite(score):
            mark = isinstance(cell, str) and _THOUSANDS.fullmatch(cell.strip())
            allowed = "a finite number" + (", with a decimal point if it has a comma like this one" if mark else "")
            text = f"found {shown(cell)}; allowed: {allowed}; correct it, or delete the row"
            self._faults.add(f"{self._label}:{number}", f"{_named(role, self._columns[role])}: {text}")
            return None
        return score


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: half a surrogate pair cannot, and tokenizers cannot read it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(cell: object) -> float | None:
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        try:
            return float(cell)
        except OverflowError:
            return None
    if not isinstance(cell, str):
        return None
    text = cell.strip()
    # 1,250 may be one and a quarter or more than a thousand, so it has to be written in another way.
    if _DECIMAL_COMMA.fullmatch(text) and not _THOUSANDS.fullmatch(text):
        text = text.replace(",", ".")
    return float(text) if _NUMBER.fullmatch(text) else None


def _named(role: str, column: str) -> str:
    return f"{role} (column {column!r})"


def _with_type(cell: object) -> str:
    return shown(cell) + ("" if cell is None else f" ({type(cell).__name__})")
