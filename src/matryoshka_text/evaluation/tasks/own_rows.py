"""The rows of an own set: texts and labels by role, every fault with file and line."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matryoshka_text.errors import DataError
from matryoshka_text.reading import Cells, Faults, open_table

__all__ = ["OwnSet", "Rows", "as_numbers"]

# A list of each role's cells, all of one length.
Rows = dict[str, list[Any]]
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
                f"{self._place}: is one file without a column 'split', which is only a test split; needed: "
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
        table = open_table(path, faults)
        header, of_split = table.columns, self.columns.get("split", "split")
        cells = Cells(str(path), self._names(path, header), faults)
        readers = {"label": cells.class_name, "score": cells.score}
        rows: Rows = {role: [] for role in self.roles}
        splits: list[Any] = []
        for row in table.rows:
            for role in self.roles:
                rows[role].append(readers.get(role, cells.text)(row, role))
            splits.append(row[1].get(of_split))
        faults.raise_any()
        if of_split not in header and "split" in self.columns:
            raise DataError(f"{path}: has no column {of_split!r}; found: {', '.join(header)}; correct columns.split")
        return rows, splits if of_split in header else None

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


def as_numbers(labels: Sequence[str]) -> list[Any]:
    """The labels, as whole numbers where all of them are."""
    whole = all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in labels)
    return [int(label) for label in labels] if whole else list(labels)
