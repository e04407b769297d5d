"""Opening a file of rows or texts: which endings are known, and what is told about a file that cannot be read."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import IO

from matryoshka_text.errors import DataError
from matryoshka_text.reading.saved import is_saved, require_one_split

__all__ = [
    "PLAIN_SUFFIXES",
    "TABLE_SUFFIXES",
    "is_plain",
    "kind_of",
    "lines_of",
    "may_be_folder",
    "opened",
    "readable",
    "require_file",
]

PLAIN_SUFFIXES = (".txt", ".txt.gz")
TABLE_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet", ".json", ".json.gz", ".tsv", ".tsv.gz")
_SUFFIXES = (*PLAIN_SUFFIXES, *TABLE_SUFFIXES)


def kind_of(path: Path) -> str:
    """What the file's name says is in it: txt, jsonl, json, csv, tsv or parquet."""
    return path.name.removesuffix(".gz").rsplit(".", 1)[-1]


def is_plain(file: object) -> bool:
    """Whether `file` names plain text, one text a line."""
    return isinstance(file, str) and file.endswith(PLAIN_SUFFIXES)


def may_be_folder(file: str) -> bool:
    """Whether a name may be that of a folder: it ends in a slash or has no ending."""
    return file.endswith("/") or not Path(file).suffix


def require_file(path: Path, key: str = "") -> None:
    """`DataError` unless `path` is a file of a known kind. `key` is the recipe key that names it."""
    named = f"{key}: " if key else ""
    if is_saved(path):
        return
    if path.is_dir():
        require_one_split(path)
        raise DataError(
            f"{named}found the folder {path}; allowed: a file ({', '.join(_SUFFIXES)}) or a folder that save_to_disk "
            "of the datasets library wrote; name one of the files in it"
        )
    if not path.is_file():
        raise DataError(named + _missing(path, relative=bool(key)))
    if not path.name.endswith(_SUFFIXES):
        raise DataError(f"{path}: is of no known kind; allowed: {', '.join(_SUFFIXES)}; rename or convert it")


def _missing(path: Path, *, relative: bool) -> str:
    if path.is_symlink() or path.exists():
        what = "a pipe or a device" if path.exists() else "a link that leads nowhere"
        return f"found {what}, {path}; allowed: a file; write the data to a file first"
    there = sorted(p.name for p in path.parent.glob("*") if p.name.endswith(_SUFFIXES))
    close = get_close_matches(path.name, there, n=3, cutoff=0.4) or there[:5]
    where = f"in {path.parent} there are {', '.join(close)}" if close else f"{path.parent} has no data files"
    of = " (relative to the recipe's folder)" if relative else ""
    return f"found no file {path}; allowed: an existing file{of}; {where}"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A block whose failures to read `path` become `DataError`."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path}{_not_utf8(path, error)}") from error
    except (OSError, EOFError, zlib.error) as error:
        way_out = "fetch or pack the file again" if path.suffix in (".gz", ".parquet") else "check the file"
        raise DataError(f"{path}: cannot be read ({error}); allowed: a whole file; {way_out}") from error


def _not_utf8(path: Path, error: UnicodeDecodeError) -> str:
    """The line and the byte, looked for once the file is known to be broken, and the way out."""
    place, guess = f": found bytes that are not UTF-8 ({error.reason})", "latin1"
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                guess = "utf-16"
            try:
                line.decode()
            except UnicodeDecodeError as wrong:
                byte = f"byte {wrong.start + 1} of the line is 0x{line[wrong.start]:02x}"
                place = f":{number}: found bytes that are not UTF-8 ({byte}: {wrong.reason})"
                break
    return (
        f"{place}; allowed: UTF-8; save it as UTF-8, or if it is {guess} run "
        f"`iconv -f {guess} -t utf-8 {path.name} > new{''.join(path.suffixes[-1:])}`"
    )


def opened(path: Path, newline: str) -> IO[str]:
    """The text of a plain or gzipped file, without its byte order mark; `newline` as for `open`."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
    return path.open(encoding="utf-8-sig", newline=newline)


def lines_of(path: Path) -> Iterator[str]:
    """Each line without its end. A line feed ends a line; a lone carriage return or a Unicode separator does not."""
    with opened(path, newline="\n") as lines:
        for line in lines:
            yield line.rstrip("\r\n")
