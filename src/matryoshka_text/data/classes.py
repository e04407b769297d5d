"""The classes of labelled texts."""

import re
from collections.abc import Callable, Sequence

from matryoshka_text.data.held_out import HeldOutRows
from matryoshka_text.errors import DataError, shown
from matryoshka_text.reading import Faults

__all__ = ["class_names", "require_known_classes"]

# Longer ones are names: int() reads no more than some thousand digits.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,999}")
_MOST_TOLD = 5


def class_names(
    labels: Sequence[str], declared: int | None = None, *, place: Callable[[int], str] = "row {}".format
) -> tuple[str, ...]:
    """The different labels: whole numbers in their order, otherwise (one of them is no number) in that of the alphabet.

    With `declared`, the names are "0" to `declared` - 1, seen or not, and labels must be among them. `place` tells
    where a label stands. `DataError` for labels outside, and where all are one and the same.
    """
    seen = set(labels)
    if declared is not None:
        _require_in_range(labels, declared, place)
    if len(seen) < 2:
        raise DataError(
            f"{place(0)}, and all other labelled rows: found class {shown(labels[0])}; allowed: at least two different "
            "classes; add rows of another class, or take the source out"
        )
    if declared is not None:
        return tuple(map(str, range(declared)))
    return tuple(sorted(seen, key=int) if all(map(_WHOLE.fullmatch, seen)) else sorted(seen))


def require_known_classes(held: HeldOutRows, classes: Sequence[str]) -> None:
    """`DataError` naming the first classes of `held` that are not in `classes`, those that training rows have."""
    first: dict[str, int] = {}
    for row, label in enumerate(held.labels or ()):
        first.setdefault(label, row)
    known = set(classes)
    unknown = {label: row for label, row in first.items() if label not in known}
    if not unknown:
        return
    some = f"{', '.join(classes[:_MOST_TOLD])}{', …' if len(classes) > _MOST_TOLD else ''}"
    lines = [
        f"{held.place(row)}: found class {shown(label)}, which no training row has; allowed: the {len(classes)} "
        f"classes of the training data ({some}); add training rows of it, or delete its rows here"
        for label, row in list(unknown.items())[:_MOST_TOLD]
    ]
    if len(unknown) > _MOST_TOLD:
        lines.append(f"and {len(unknown) - _MOST_TOLD} more classes of {held.name!r} that no training row has")
    raise DataError("\n".join(lines))


def _require_in_range(labels: Sequence[str], declared: int, place: Callable[[int], str]) -> None:
    faults = Faults()
    for row, label in enumerate(labels):
        if not (_WHOLE.fullmatch(label) and 0 <= int(label) < declared):
            faults.add(
                place(row),
                f"found class {shown(label)}; allowed: whole numbers from 0 to {declared - 1}, since the objective "
                f"classify has `classes: {declared}`; correct the label, or change classes",
            )
    faults.raise_any()
