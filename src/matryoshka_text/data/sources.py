"""One training source as rows of texts: pairs, triplets, or labelled pairs turned into triplets."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matryoshka_text.data.faults import MISSING, Faults, text_of
from matryoshka_text.data.hub import open_hub
from matryoshka_text.data.nli import UNLABELLED, Judged, label_of, triplets
from matryoshka_text.data.tables import Table, open_file, path_of, require_columns
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import HeldOut, Source
from matryoshka_text.recipe.wording import shown

__all__ = ["SourceRows", "column_names", "open_table", "read_source", "sampled"]


@dataclass(frozen=True)
class SourceRows:
    """The examples of one source: (anchor, positive, negative…) each, with the number of its row."""

    label: str
    texts: list[tuple[str, ...]]
    numbers: list[int]

    @property
    def negatives(self) -> int:
        """Hard negatives of each example."""
        return len(self.texts[0]) - 2


def read_source(source: Source, folder: Path, *, key: str = "data", seed: int = 0) -> SourceRows:
    """The examples of `source`, whose files are relative to `folder`; `DataError` with the faults' places.

    `key` is the source's key in the recipe, for messages. With `rows`, a sample drawn by `seed`, in file order.
    """
    faults = Faults()
    columns = column_names(source)
    table = open_table(source, folder, tuple(columns.values()), key, faults)
    require_columns(table, columns, key)
    read = _nli if source.kind == "nli" else _matched
    found = list(read(source, table, faults))
    faults.raise_any()
    if not found:
        what = "premise with both an entailed and a contradicted hypothesis" if source.kind == "nli" else "rows"
        raise DataError(f"{table.label}: found no {what}; allowed: at least one; use more data, or another kind")
    found = [found[i] for i in sampled(len(found), source.rows, f"{seed}:{source.name}")]
    return SourceRows(table.label, [texts for _, texts in found], [number for number, _ in found])


def open_table(section: Source | HeldOut, folder: Path, wanted: tuple[str, ...], key: str, faults: Faults) -> Table:
    """The table that `section` names, from a file or from the hub."""
    if section.file is not None:
        return open_file(path_of(section.file, folder), wanted, f"{key}.file", faults)
    return open_hub(section, wanted, key)


def column_names(section: Source | HeldOut) -> dict[str, str]:
    """Role -> column; several columns of negatives are negatives[0], negatives[1], …"""
    names: dict[str, str] = {}
    for role, column in section.columns.model_dump().items():
        if isinstance(column, str):
            names[role] = column
        else:
            names.update({f"{role}[{index}]": name for index, name in enumerate(column)})
    return names


def sampled(count: int, most: int | None, salt: str) -> list[int]:
    """Which of `count` rows a sample of at most `most` takes, ascending.

    The rows with the smallest sha256 of "salt:row": the same on every machine and with every version of every library.
    """
    if most is None or count <= most:
        return list(range(count))
    return sorted(sorted(range(count), key=lambda row: hashlib.sha256(f"{salt}:{row}".encode()).digest())[:most])


def _matched(source: Source, table: Table, faults: Faults) -> Iterator[tuple[int, tuple[str, ...]]]:
    columns = column_names(source)
    expected: int | None = None
    for number, row in table.rows:
        place = table.place(number)
        anchor = text_of(row, columns["anchor"], "anchor", place, faults)
        positive = text_of(row, columns["positive"], "positive", place, faults)
        negatives = _negatives(source, row, expected, place, faults) if source.kind == "triplets" else []
        if negatives is not None:
            expected = expected or len(negatives)
            if anchor is not None and positive is not None:
                yield number, (anchor, positive, *negatives)


def _negatives(
    source: Source, row: Mapping[str, Any], expected: int | None, place: str, faults: Faults
) -> list[str] | None:
    """The row's hard negatives, as many as in the first row; None and a fault otherwise."""
    columns = source.columns.negatives
    cells: dict[str, Any]
    if isinstance(columns, tuple):
        cells = {name: row[name] for name in columns if row.get(name) is not None}
        if cells and len(cells) < len(columns):
            lacking = next(name for name in columns if name not in cells)
            _unequal(place, len(cells), len(columns), faults, f"; column {lacking!r} has none")
            return None
    else:
        cell = row.get(str(columns), MISSING)
        cells = (
            {f"{columns}[{i}]": text for i, text in enumerate(cell)} if isinstance(cell, list) else {str(columns): cell}
        )
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


def _nli(source: Source, table: Table, faults: Faults) -> Iterator[tuple[int, tuple[str, ...]]]:
    yield from triplets(list(_judged(column_names(source), table, faults)))


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
