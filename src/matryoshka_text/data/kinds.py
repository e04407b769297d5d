"""The examples that a table holds, for each kind of source or held-out set."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from matryoshka_text.data.columns import Example
from matryoshka_text.data.nli import UNLABELLED, Judged, label_of, triplets
from matryoshka_text.errors import shown
from matryoshka_text.reading import MISSING, Cells, Faults, Table
from matryoshka_text.reading.files import is_plain
from matryoshka_text.recipe import HeldOut, Source

__all__ = ["column_names", "examples_in"]


def examples_in(table: Table, section: Source | HeldOut, faults: Faults) -> Iterator[Example]:
    """The examples of `section` in its table; rows that are wrong become faults."""
    cells = Cells(table.label, column_names(section), faults, hub=section.hub is not None)
    if section.kind == "triplets":
        assert isinstance(section, Source) and section.columns.negatives is not None
        return _triplets(section.columns.negatives, table, cells, faults)
    if section.kind == "nli":
        return _nli(column_names(section)["label"], table, cells, faults)
    return _READERS[section.kind](table, cells)


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


def _pairs(table: Table, cells: Cells) -> Iterator[Example]:
    for row in table.rows:
        anchor, positive = cells.text(row, "anchor"), cells.text(row, "positive")
        if anchor is not None and positive is not None:
            yield Example(row[0], (anchor, positive))


def _triplets(columns: str | tuple[str, ...], table: Table, cells: Cells, faults: Faults) -> Iterator[Example]:
    expected: int | None = None
    for number, row in table.rows:
        anchor, positive = cells.text((number, row), "anchor"), cells.text((number, row), "positive")
        negatives, wrong = _negatives(columns, row, expected)
        texts = [cells.text_of(cell, number, f"negatives (column {name!r})") for name, cell in negatives.items()]
        if wrong is not None and None not in texts:
            faults.add(table.place(number), f"negatives: {wrong}")
        found = [text for text in texts if text is not None]
        if wrong is None and len(found) == len(negatives):
            expected = expected or len(found)
            if anchor is not None and positive is not None:
                yield Example(number, (anchor, positive, *found))


def _negatives(
    columns: str | tuple[str, ...], row: Mapping[str, Any], expected: int | None
) -> tuple[dict[str, Any], str | None]:
    """The cells that hold the row's hard negatives, by name; and what is wrong with their number."""
    if isinstance(columns, tuple):
        found = {name: row[name] for name in columns if row.get(name) is not None}
        if found and len(found) < len(columns):
            lacking = next(name for name in columns if name not in found)
            return {}, _unequal(len(found), len(columns), f"; column {lacking!r} has none")
    else:
        cell = row.get(columns, MISSING)
        found = {f"{columns}[{i}]": text for i, text in enumerate(cell)} if isinstance(cell, list) else {columns: cell}
    if not found:
        return {}, "found none; allowed: at least one text; add one, or delete the row"
    return found, _unequal(len(found), expected) if expected not in (None, len(found)) else None


def _unequal(found: int, expected: int | None, because: str = "") -> str:
    fewer, way_out = ("fewer", "add some") if found < (expected or 0) else ("more", "leave some out")
    return (
        f"found {found}, {fewer} than the {expected} of the first row{because}; allowed: {expected} in every row; "
        f"{way_out}, or delete the row"
    )


def _single(table: Table, cells: Cells) -> Iterator[Example]:
    for row in table.rows:
        text = cells.text(row, "text")
        if text is not None:
            yield Example(row[0], (text,))


def _labelled(table: Table, cells: Cells) -> Iterator[Example]:
    for row in table.rows:
        text, label = cells.text(row, "text"), cells.class_name(row)
        if text is not None and label is not None:
            yield Example(row[0], (text,), label)


def _scored(table: Table, cells: Cells) -> Iterator[Example]:
    for row in table.rows:
        first, second, score = cells.text(row, "sentence1"), cells.text(row, "sentence2"), cells.score(row)
        if first is not None and second is not None and score is not None:
            yield Example(row[0], (first, second), score)


def _nli(column: str, table: Table, cells: Cells, faults: Faults) -> Iterator[Example]:
    for number, texts in triplets(list(_judged(column, table, cells, faults))):
        yield Example(number, texts)


def _judged(column: str, table: Table, cells: Cells, faults: Faults) -> Iterator[Judged]:
    for number, row in table.rows:
        label = label_of(row.get(column))
        if label is None:
            faults.add(
                table.place(number),
                f"label (column {column!r}): found {shown(row.get(column))}; allowed: entailment, neutral, "
                "contradiction, or 0, 1, 2 in this order, or -1 for none; rename the label, or delete the row",
            )
        premise, hypothesis = cells.text((number, row), "premise"), cells.text((number, row), "hypothesis")
        if premise is not None and hypothesis is not None and label not in (None, UNLABELLED):
            yield Judged(number, premise, hypothesis, str(label))


_READERS: Mapping[str, Callable[[Table, Cells], Iterator[Example]]] = {
    "pairs": _pairs,
    "mined": _single,
    "text": _single,
    "labelled": _labelled,
    "scored": _scored,
    "sts": _scored,
}
