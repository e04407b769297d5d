"""The texts of several files, or of standard input, as a stream with their places."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path

from matryoshka_text.errors import DataError
from matryoshka_text.files import sha256_of
from matryoshka_text.reading.cells import Cells
from matryoshka_text.reading.faults import Faults
from matryoshka_text.reading.files import PLAIN_SUFFIXES, TABLE_SUFFIXES, is_plain, lines_of, readable, require_file
from matryoshka_text.reading.table import no_column, no_rows, open_table, plain_rows

__all__ = ["STDIN", "Input", "Text", "Texts", "read_texts"]

STDIN = "-"


@dataclass(frozen=True)
class Input:
    """A file that was read through once: its sha256, and how many texts it holds."""

    file: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Text:
    """One text, and where it stands: `file:line` (parquet: `file:row`), counted from 1."""

    text: str
    file: str
    number: int

    @property
    def place(self) -> str:
        """file:line."""
        return f"{self.file}:{self.number}"


class Texts:
    """The texts of `inputs` in order: each line of a .txt file, the cell in `column` of each row of any other file.

    Every row counts, a blank line of a .txt file and an empty cell too: vector n belongs to row n.
    """

    def __init__(self, inputs: Sequence[str | Path], column: str = "text") -> None:
        """`DataError` if an input is missing or of no known kind; "-" is standard input, a text a line."""
        self.inputs, self.column = [str(name) for name in inputs], column
        if not self.inputs:
            known = ", ".join((*PLAIN_SUFFIXES, *TABLE_SUFFIXES))
            raise DataError(f"no input given; allowed: files ({known}), or - for standard input")
        if STDIN in self.inputs and len(self.inputs) > 1:
            raise DataError(f"inputs: found - next to {len(self.inputs) - 1} files; allowed: files, or only -")
        for name in self.inputs:
            if name != STDIN:
                require_file(Path(name))
        self._stdin, self._kept = _from_stdin(), list[Text]()

    @property
    def from_stdin(self) -> bool:
        """Whether the texts can be read only once."""
        return self.inputs == [STDIN]

    def head(self, count: int) -> list[Text]:
        """The first `count` texts, or all if there are fewer; the iteration gives them again."""
        if not self.from_stdin:
            return list(islice(self, count))
        self._kept += islice(self._stdin, max(count - len(self._kept), 0))
        return self._kept[:count]

    def survey(self) -> list[Input]:
        """Every input read through, as it will be; `DataError` naming the first ten rows that hold no text."""
        faults, found = Faults(), []
        for name in self.inputs:
            rows = sum(1 for _ in self._of(name, faults))
            if not rows and not faults.count:
                raise no_rows(Path(name))
            found.append(Input(name, sha256_of(Path(name)), rows))
        faults.raise_any()
        return found

    def __iter__(self) -> Iterator[Text]:
        """Each text; `DataError` at the first row that holds none."""
        if self.from_stdin:
            yield from chain(self._kept, self._stdin)
            return
        for name in self.inputs:
            faults = Faults(most=1)
            for text in self._of(name, faults):
                faults.raise_any()
                yield text
            faults.raise_any()

    def _of(self, name: str, faults: Faults) -> Iterator[Text]:
        if is_plain(name):
            with readable(Path(name)):
                yield from (Text(line, name, number) for number, line in enumerate(lines_of(Path(name)), start=1))
            return
        table = open_table(Path(name), faults, (self.column,))
        if self.column not in table.columns:
            close = get_close_matches(self.column, table.columns, n=1, cutoff=0.5) or table.columns[:1]
            guess = f"give --column {close[0]}" if close else "give a file with a column of texts"
            raise DataError(f"{name}: {no_column(table, self.column)}; {guess}")
        cells = Cells(name, {"text": self.column}, faults)
        for row in table.rows:
            text = cells.text(row, "text", blank=True)
            if text is not None:
                yield Text(text, name, row[0])


def read_texts(path: Path) -> list[str]:
    """The lines of a plain or gzipped text file, blanks at their ends taken off, without those that are blank.

    `DataError` for a file that cannot be read or holds no text.
    """
    with readable(path):
        texts = [str(row["text"]) for _, row in plain_rows(path, Faults())]
    if not texts:
        raise no_rows(path)
    return texts


def _from_stdin() -> Iterator[Text]:
    name = "standard input"
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{name}:{number}: found bytes that are not UTF-8 ({error.reason}); convert it") from error
        yield Text(text.rstrip("\r\n"), name, number)
