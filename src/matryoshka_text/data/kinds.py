"""The examples that a table holds, for each kind of source or held-out set."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from matryoshka_text.data.cells import class_of, score_of
from matryoshka_text.data.faults import MISSING, Faults, text_of
from matryoshka_text.data.nli import UNLABELLED, Judged, label_of, triplets
from matryoshka_text.data.tables import Table
from matryoshka_text.recipe import HeldOut, Source
from matryoshka_text.recipe.sources import is_plain
from matryoshka_text.recipe.wording import shown

__all__ = ["Example", "column_names", "examples_in"]


class Example(NamedTuple):
    """The texts of one example, the number of its row, and what else is known of it: its class, or its score."""

    number: int
    texts: tuple[str, ...]
    value: str | float | None = None


def examples_in(table: Table, section: Source | HeldOut, faults: Faults) -> Iterator[Example]:
    """The examples of `section` in its table; rows that are wrong become faults."""
    return _READERS[section.kind](section, table, faults)


def column_names(section: Source | HeldOut) -> dict[str, str]:
    """Role -> column; several columns of negatives are negatives[0], negatives[1], …; text -> text of plain text."""
    if is_plain(section.file):
        return {"text": "text"}
    names: dict[str, str] = {}
    for role, column in section.columns.model_dump().items():
        if isinstance(column, str):
            names[role] = column
        else:
            names.update({f"{role}[{index}]": name for index, name in enumerate(column)})
    return names


def _matched(section: Source | HeldOut, table: Table, faults: Faults) -> Iterator[Example]:
    columns = column_names(section)
    hard = section.columns.negatives if isinstance(section, Source) and section.kind == "triplets" else None
    expected: int | None = None
    for number, row in table.rows:
        place = table.place(number)
        anchor = text_of(row, columns["anchor"], "anchor", place, faults)
        positive = text_of(row, columns["positive"], "positive", place, faults)
        negatives = _negatives(hard, row, expected, place, faults) if hard else []
        if negatives is not None:
            expected = expected or len(negatives)
            if anchor is not None and positive is not None:
                yield Example(number, (anchor, positive, *negatives))


def _single(section: Source | HeldOut, table: Table, faults: Faults) -> Iterator[Example]:
    column = column_names(section)["text"]
    for number, row in table.rows:
        text = text_of(row, column, "text", table.place(number), faults)
        if text is not None:
            yield Example(number, (text,))


def _labelled(section: Source | HeldOut, table: Table, faults: Faults) -> Iterator[Example]:
    columns = column_names(section)
    for number, row in table.rows:
        place = table.place(number)
        text = text_of(row, columns["text"], "text", place, faults)
        label = class_of(row, columns["label"], place, faults, hub=section.hub is not None)
        if text is not None and label is not None:
            yield Example(number, (text,), label)


def _scored(section: Source | HeldOut, table: Table, faults: Faults) -> Iterator[Example]:
    columns = column_names(section)
    for number, row in table.rows:
        place = table.place(number)
        first, second = (text_of(row, columns[r], r, place, faults) for r in ("sentence1", "sentence2"))
        score = score_of(row, columns["score"], place, faults)
        if first is not None and second is not None and score is not None:
            yield Example(number, (first, second), score)


def _negatives(
    columns: str | tuple[str, ...], row: Mapping[str, Any], expected: int | None, place: str, faults: Faults
) -> list[str] | None:
    """The row's hard negatives, as many as in the first row; None and a fault otherwise."""
    cells: dict[str, Any]
    if isinstance(columns, tuple):
        cells = {name: row[name] for name in columns if row.get(name) is not None}
        if cells and len(cells) < len(columns):
            lacking = next(name for name in columns if name not in cells)
            _unequal(place, len(cells), len(columns), faults, f"; column {lacking!r} has none")
            return None
    else:
        cell = row.get(columns, MISSING)
        cells = {f"{columns}[{i}]": text for i, text in enumerate(cell)} if isinstance(cell, list) else {columns: cell}
    if not cells:
        faults.add(place, "negatives: found none; allowed: at least one text; add one, or delete the row")
        return None
    before = faults.count
    texts = [text_of(cells if v is not MISSING else {}, name, "negatives", place, faults) for name, v in cells.items()]
    if faults.count > before:
        return None
    if expected is not None and len(texts) != expected:
        _unequal(place, len(texts), expected, faults, "")
        return None
    return [text for text in texts if text is not None]


def _unequal(place: str, found: int, expected: int, faults: Faults, where: str) -> None:
    fewer = "fewer" if found < expected else "more"
    faults.add(
        place,
        f"negatives: found {found}, {fewer} than the {expected} of the first row{where}; "
        f"allowed: {expected} in every row; {'add some' if found < expected else 'leave some out'}, or delete the row",
    )


def _nli(section: Source | HeldOut, table: Table, faults: Faults) -> Iterator[Example]:
    for number, texts in triplets(list(_judged(column_names(section), table, faults))):
        yield Example(number, texts)


def _judged(columns: Mapping[str, str], table: Table, faults: Faults) -> Iterator[Judged]:
    for number, row in table.rows:
        place = table.place(number)
        label = label_of(row.get(columns["label"]))
        if label is None:
            faults.add(
                place,
                f"label (column {columns['label']!r}): found {shown(row.get(columns['label']))}; allowed: entailment, "
                "neutral, contradiction, or 0, 1, 2 in this order, or -1 for none; rename the label, or delete the row",
            )
        premise = text_of(row, columns["premise"], "premise", place, faults)
        hypothesis = text_of(row, columns["hypothesis"], "hypothesis", place, faults)
        if premise is not None and hypothesis is not None and label not in (None, UNLABELLED):
            yield Judged(number, premise, hypothesis, str(label))


_READERS: Mapping[str, Callable[[Source | HeldOut, Table, Faults], Iterator[Example]]] = {
    "pairs": _matched,
    "triplets": _matched,
    "nli": _nli,
    "mined": _single,
    "text": _single,
    "labelled": _labelled,
    "scored": _scored,
    "sts": _scored,
}
