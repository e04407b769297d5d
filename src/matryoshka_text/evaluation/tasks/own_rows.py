"""The rows of an own set: texts and labels by role, every fault with file and line."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matryoshka_text.data.cells import class_of, score_of
from matryoshka_text.data.faults import Faults, text_of
from matryoshka_text.data.formats import csv_rows, json_rows, readable
from matryoshka_text.data.tables import open_file
from matryoshka_text.errors import DataError

__all__ = ["OwnSet", "Rows", "as_numbers"]

# A list of each role's cells, all of one length.
Rows = dict[str, list[Any]]
_Cells = Callable[[Mapping[str, Any], str, str, str, Faults], Any]
# Where a suite names no columns, the first of these pairs that a file has.
_PAIRS = {
    "sentence1": (("premise", "hypothesis"), ("sentence1", "sentence2"), ("text1", "text2")),
    "query": (("question", "answer"), ("query", "document")),
}


class OwnSet:
    """Files by split ("": one file for all), read as columns of `roles` (text, sentence1, label, score, …)."""

    def __init__(self, files: Mapping[str, Path], roles: Sequence[str], columns: Mapping[str, str] | None) -> None:
        self.files, self.roles, self.columns = dict(files), tuple(roles), dict(columns or {})

    def read(self, splits: Sequence[str]) -> dict[str, Rows]:
        """The rows of each split; `DataError` with all faults for one that is missing, empty or has broken rows."""
        found = self._of_one_file(splits) if "" in self.files else self._of_folder(splits)
        empty = [split for split, rows in found.items() if not rows[self.roles[0]]]
        if empty:
            raise DataError(f"{self._place}: split {', '.join(empty)} is empty; at least one row is needed")
        return found

    @property
    def _place(self) -> Path:
        return self.files[""] if "" in self.files else next(iter(self.files.values())).parent

    def _of_folder(self, splits: Sequence[str]) -> dict[str, Rows]:
        lacking = [split for split in splits if split not in self.files]
        if lacking:
            raise DataError(
                f"{self._place}: no split {', '.join(lacking)}; found: {', '.join(self.files)}. "
                "Add a file of that name (test.jsonl, …), or name another `split` in the suite"
            )
        return {split: self._table(self.files[split])[0] for split in splits}

    def _of_one_file(self, splits: Sequence[str]) -> dict[str, Rows]:
        rows, places = self._table(self.files[""])
        if places is None:
            if list(splits) == ["test"]:
                return {"test": rows}
            raise DataError(
                f"{self._place}: is one file without a column 'split', which is a test split alone; needed: "
                f"{', '.join(splits)}. Add that column, or make a folder with a file for each split"
            )
        lacking = [split for split in splits if split not in places]
        if lacking:
            there = ", ".join(map(str, dict.fromkeys(places)))
            raise DataError(
                f"{self._place}: no row has the split {', '.join(lacking)}; found: {there}. "
                "Name another `split` in the suite"
            )
        return {
            split: {
                role: [cell for cell, of in zip(cells, places, strict=True) if of == split]
                for role, cells in rows.items()
            }
            for split in splits
        }

    def _table(self, path: Path) -> tuple[Rows, list[Any] | None]:
        """The file's rows, and the split of each where the file says it."""
        faults = Faults()
        numbered, header = _opened(path, faults)
        if not numbered:
            faults.raise_any()
            raise DataError(f"{path}: is empty; at least one row is needed")
        names = self._names(path, header)
        readers: dict[str, _Cells] = {role: _CELLS[role] if role in _CELLS else _text for role in self.roles}
        rows: Rows = {role: [] for role in self.roles}
        for number, row in numbered:
            for role, read in readers.items():
                rows[role].append(read(row, names[role], role, f"{path}:{number}", faults))
        faults.raise_any()
        of_split = self.columns.get("split", "split")
        if of_split not in header and "split" in self.columns:
            raise DataError(f"{path}: has no column {of_split!r}; found: {', '.join(header)}; correct columns.split")
        return rows, [row.get(of_split) for _, row in numbered] if of_split in header else None

    def _names(self, path: Path, header: Sequence[str]) -> dict[str, str]:
        """The file's column for each role."""
        names = {role: role for role in self.roles}
        for pair in _PAIRS.get(self.roles[0], ()):
            if set(pair) <= set(header):
                names.update(zip(self.roles, pair, strict=False))
                break
        names.update({role: column for role, column in self.columns.items() if role in names})
        lacking = [
            f"{column} ({role})" if column != role else role for role, column in names.items() if column not in header
        ]
        if lacking:
            raise DataError(
                f"{path}: lacks the column {', '.join(lacking)}; found: {', '.join(header)}; needed: "
                f"{', '.join(self.roles)}. Say in the suite which is which: "
                f"`columns: {{{', '.join(f'{role}: …' for role in self.roles)}}}`"
            )
        return names


def _opened(path: Path, faults: Faults) -> tuple[list[tuple[int, Mapping[str, Any]]], list[str]]:
    """All rows with their numbers, and the names of the columns."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        header = open_file(path, (), str(path), faults).columns
        return list(open_file(path, header, str(path), faults).rows), list(header)
    with readable(path):
        rows = list((csv_rows if name.endswith(".csv") else json_rows)(path, faults))
    # A JSON object leaves out what it has not.
    return rows, list(dict.fromkeys(column for _, row in rows[:100] for column in row))


def _text(row: Mapping[str, Any], column: str, role: str, place: str, faults: Faults) -> str | None:
    return text_of(row, column, role, place, faults)


def _label(row: Mapping[str, Any], column: str, role: str, place: str, faults: Faults) -> str | None:
    cell = row.get(column)
    return class_of({column: int(cell)} if isinstance(cell, bool) else row, column, place, faults)


def _score(row: Mapping[str, Any], column: str, role: str, place: str, faults: Faults) -> float | None:
    return score_of(row, column, place, faults)


_CELLS: dict[str, _Cells] = {"label": _label, "score": _score}


def as_numbers(labels: Sequence[str]) -> list[Any]:
    """The labels, as whole numbers where all of them are."""
    return [int(label) for label in labels] if all(re.fullmatch(r"-?\d+", label) for label in labels) else list(labels)
