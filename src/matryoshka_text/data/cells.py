"""What a row says of its texts: a class, or a score."""

import math
from collections.abc import Mapping
from typing import Any

from matryoshka_text.data.faults import MISSING, Faults, text_of
from matryoshka_text.recipe.wording import shown

__all__ = ["class_of", "score_of"]


def class_of(row: Mapping[str, Any], column: str, place: str, faults: Faults, *, hub: bool = False) -> str | None:
    """The class in `column` of `row`, a name or a whole number, as a text; None, and a fault, where it is neither.

    On the `hub` the number -1 is no class: data sets there mark rows with it whose class is kept back.
    """
    cell = row.get(column, MISSING)
    if isinstance(cell, str):
        name = text_of(row, column, "label", place, faults)
        return name.strip() if name is not None else None
    if isinstance(cell, int) and not isinstance(cell, bool) and not (hub and cell == -1):
        return str(cell)
    if cell is MISSING:
        what, way_out = "no such cell", "add it, or delete the row"
    elif hub and cell == -1 and not isinstance(cell, bool):
        what, way_out = "-1, which stands for no label on the hub", "use a split that has labels"
    else:
        kind = "" if cell is None else f" ({type(cell).__name__})"
        what, way_out = f"{shown(cell)}{kind}", "name the class, or delete the row"
    faults.add(place, f"label (column {column!r}): found {what}; allowed: a class, a text or a whole number; {way_out}")
    return None


def score_of(row: Mapping[str, Any], column: str, place: str, faults: Faults) -> float | None:
    """The finite number in `column` of `row`; None, and a fault, where it is none."""
    cell = row.get(column)
    try:
        if isinstance(cell, str | int | float) and not isinstance(cell, bool) and math.isfinite(score := float(cell)):
            return score
    except (ValueError, OverflowError):
        pass  # a text that is no number: told below, like every other cell that is none
    faults.add(
        place,
        f"score (column {column!r}): found {shown(cell)}; allowed: a finite number; correct it, or delete the row",
    )
    return None
