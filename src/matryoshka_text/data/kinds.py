"""The examples that a table holds, for each kind of source or held-out set."""

from collections.abc import Callable, Iterator, Mapping

from matryoshka_text.data.columns import Example
from matryoshka_text.data.negatives import evened
from matryoshka_text.data.nli import UNLABELLED, Judged, label_of, triplets
from matryoshka_text.errors import shown
from matryoshka_text.reading import Cells, Faults, Table
from matryoshka_text.reading.files import is_plain
from matryoshka_text.recipe import HeldOut, Source

__all__ = ["column_names", "examples_in"]


def examples_in(table: Table, section: Source | HeldOut, faults: Faults) -> Iterator[Example]:
    """The examples of `section` in its table; rows that are wrong become faults."""
    cells = Cells(table.label, column_names(section), faults, hub=section.hub is not None)
    if section.kind == "triplets":
        assert isinstance(section, Source) and section.columns.negatives is not None
        given = _triplets(section.columns.negatives, table, cells)
        return evened(given, table.label, faults, exact=section.vectors is not None)
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
        anchor, positives = cells.text(row, "anchor"), cells.texts(row, "positive")
        if anchor is not None:
            yield from (Example(row[0], (anchor, positive)) for positive in positives or ())


def _triplets(columns: str | tuple[str, ...], table: Table, cells: Cells) -> Iterator[Example]:
    """Each positive with the row's negatives, any number of them."""
    for row in table.rows:
        anchor, positives = cells.text(row, "anchor"), cells.texts(row, "positive")
        if isinstance(columns, tuple):
            # An empty cell among several columns is one negative fewer.
            roles = [f"negatives[{i}]" for i, name in enumerate(columns) if not _empty(row[1].get(name))]
            texts = [cells.text(row, role) for role in roles]
            negatives = None if None in texts else [text for text in texts if text is not None]
        else:
            negatives = cells.texts(row, "negatives", none=True)
        if anchor is not None and negatives is not None:
            yield from (Example(row[0], (anchor, positive, *negatives)) for positive in positives or ())


def _empty(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


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
