"""The texts of several files, or of standard input, as a stream with their places."""

import gzip
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

from matryoshka_text.data.faults import MISSING, Faults
from matryoshka_text.data.formats import Row, csv_rows, json_rows, readable
from matryoshka_text.errors import DataError
from matryoshka_text.files import sha256_of
from matryoshka_text.recipe.wording import shown

__all__ = ["STDIN", "Input", "Text", "Texts", "column_names"]

STDIN = "-"
_PLAIN = (".txt", ".txt.gz")
_SUFFIXES = (*_PLAIN, ".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


@dataclass(frozen=True)
class Input:
    """A file that was read through once: its sha256, and how many texts it holds. None: standard input."""

    file: str
    sha256: str | None
    rows: int | None


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
        """`DataError` where an input is missing or of no known kind; "-" is standard input, a text a line."""
        self.inputs, self.column = [str(name) for name in inputs], column
        if not self.inputs:
            raise DataError(f"no input given; allowed: files ({', '.join(_SUFFIXES)}), or - for standard input")
        if STDIN in self.inputs and len(self.inputs) > 1:
            raise DataError(f"inputs: found - beside {len(self.inputs) - 1} files; allowed: files, or - alone")
        for name in self.inputs:
            _require_readable(name)
        self._stdin, self._kept = _from_stdin(), list[Text]()

    @property
    def from_stdin(self) -> bool:
        """Whether the texts can be read only once."""
        return self.inputs == [STDIN]

    def head(self, count: int) -> list[Text]:
        """The first `count` texts, fewer where there are fewer; the iteration gives them again."""
        if not self.from_stdin:
            return list(itertools.islice(self, count))
        self._kept += itertools.islice(self._stdin, max(count - len(self._kept), 0))
        return self._kept[:count]

    def survey(self) -> list[Input]:
        """Every input read through, as it will be; `DataError` naming the first ten rows that hold no text."""
        faults, found = Faults(), []
        for name in self.inputs:
            rows = sum(1 for _ in self._of(name, faults))
            if not rows and not faults.count:
                raise DataError(f"{name}: found no rows; allowed: at least one text; leave the file out, or fill it")
            found.append(Input(name, sha256_of(Path(name)), rows))
        faults.raise_any()
        return found

    def __iter__(self) -> Iterator[Text]:
        """Each text; `DataError` at the first row that holds none."""
        if self.from_stdin:
            yield from itertools.chain(self._kept, self._stdin)
            return
        for name in self.inputs:
            faults = Faults(most=1)
            for text in self._of(name, faults):
                faults.raise_any()
                yield text
            faults.raise_any()

    def _of(self, name: str, faults: Faults) -> Iterator[Text]:
        path = Path(name)
        with readable(path):
            if name.endswith(_PLAIN):
                yield from (Text(line.rstrip("\r\n"), name, n) for n, line in enumerate(_lines(path), start=1))
            else:
                yield from self._cells(path, faults)

    def _cells(self, path: Path, faults: Faults) -> Iterator[Text]:
        first = True
        for number, row in _rows(path, self.column, faults):
            if first and self.column not in row:
                raise DataError(_no_column(path, self.column, row))
            first = False
            cell = row.get(self.column, MISSING)
            if isinstance(cell, str) and _is_unicode(cell):
                yield Text(cell, str(path), number)
            else:
                what = "no such cell" if cell is MISSING else shown(cell)
                faults.add(
                    f"{path}:{number}",
                    f"column {self.column!r}: found {what}; allowed: a text; write one there, or delete the row",
                )


def column_names(name: str) -> list[str] | None:
    """The columns of a file, those of its first row; None for plain text, which has none."""
    if name.endswith(_PLAIN):
        return None
    with readable(Path(name)):
        if name.endswith(".parquet"):
            return _parquet_columns(Path(name))
        return list(next(_rows(Path(name), "", Faults()), (0, {}))[1])


def _require_readable(name: str) -> None:
    path = Path(name)
    if name == STDIN:
        return
    if path.is_dir():
        raise DataError(f"{name}: is a folder; allowed: a file ({', '.join(_SUFFIXES)}); name the files in it")
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*") if p.name.endswith(_SUFFIXES))
        close = get_close_matches(path.name, there, n=3, cutoff=0.4) or there[:5]
        raise DataError(
            f"{name}: there is no such file; in {path.parent} there are {', '.join(close) or 'no files of texts'}"
        )
    if not name.endswith(_SUFFIXES):
        raise DataError(f"{name}: is of no known kind; allowed: {', '.join(_SUFFIXES)}; rename or convert it")


def _rows(path: Path, column: str, faults: Faults) -> Iterator[Row]:
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1]
    if kind == "parquet":
        return _parquet_rows(path, column)
    if kind == "csv":
        return csv_rows(path, faults)
    return _tsv_rows(path, faults) if kind == "tsv" else json_rows(path, faults)


def _no_column(path: Path, column: str, row: Mapping[str, Any]) -> str:
    close = get_close_matches(column, row, n=1, cutoff=0.5) or list(row)[:1]
    guess = f"give --column {close[0]}" if close else "give a file with a column of texts"
    return f"{path}: found no column {column!r}; allowed: {', '.join(row) or 'none'}; {guess}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which tokenizers cannot read
        return False
    return True


def _from_stdin() -> Iterator[Text]:
    name = "standard input"
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield Text(line.decode("utf-8").rstrip("\r\n"), name, number)
        except UnicodeDecodeError as error:
            raise DataError(f"{name}:{number}: found bytes that are not UTF-8 ({error.reason}); convert it") from error


def _lines(path: Path) -> Iterator[str]:
    opened: IO[str]
    # newline="\n": a lone carriage return, or a Unicode line separator, ends no line here.
    if path.suffix == ".gz":
        opened = gzip.open(path, "rt", encoding="utf-8-sig", newline="\n")
    else:
        opened = path.open(encoding="utf-8-sig", newline="\n")
    with opened:
        yield from opened


def _tsv_rows(path: Path, faults: Faults) -> Iterator[Row]:
    """Each row of tab-separated values below a header; there is no quoting, so no cell holds a tab or a line break."""
    lines = (line.rstrip("\r\n").split("\t") for line in _lines(path))
    header = next(lines, [])
    for number, cells in enumerate(lines, start=2):
        if len(cells) == len(header):
            yield number, dict(zip(header, cells, strict=True))
        else:
            what = f"found {len(cells)} cells; allowed: {len(header)}, as in the header; add cells, or take tabs out"
            faults.add(f"{path}:{number}", what)


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        return list(parquet.read_schema(path).names)
    except pyarrow.ArrowException as error:
        raise _broken_parquet(path, error) from error


def _broken_parquet(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: is a broken parquet file ({error}); fetch or write it again")


def _parquet_rows(path: Path, column: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise DataError(_no_column(path, column, dict.fromkeys(names)))
            batches = file.iter_batches(batch_size=1024, columns=[column])
            cells = itertools.chain.from_iterable(batch.column(0).to_pylist() for batch in batches)
            yield from ((number, {column: cell}) for number, cell in enumerate(cells, start=1))
    except pyarrow.ArrowException as error:
        raise _broken_parquet(path, error) from error
