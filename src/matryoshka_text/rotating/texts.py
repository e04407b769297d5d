"""The texts a rotation is learned from: by source, each text once, drawn by a seed."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matryoshka_text.data.draw import Draw
from matryoshka_text.errors import DataError
from matryoshka_text.files import sha256_of
from matryoshka_text.reading import STDIN, Texts, columns_of
from matryoshka_text.reading.table import no_rows

__all__ = ["Given", "Reading", "SourceTexts", "read_sources"]

Given = Path | Sequence[str] | Sequence[Path] | Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Reading:
    """How texts are read: the columns of files that have some, and at most how many texts of how many characters."""

    columns: tuple[str, ...] = ("text",)
    most: int = 20_000
    max_characters: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.columns:
            raise DataError("--column: none is given; allowed: at least one column's name")
        for name in ("most", "max_characters"):
            if getattr(self, name) < 1:
                raise DataError(
                    f"--{name.replace('_', '-')}: found {getattr(self, name)}; allowed: a whole number from 1"
                )
        if not 0 <= self.seed < 2**32:
            raise DataError(f"--seed: found {self.seed}; allowed: 0 to {2**32 - 1}")


@dataclass(frozen=True)
class SourceTexts:
    """One kind of text. `read` and `blank` count the texts found, `texts` are the different ones that were drawn."""

    name: str
    file: str | None
    columns: tuple[str, ...]
    sha256: str
    read: int
    blank: int
    texts: tuple[str, ...]


def read_sources(given: Given, reading: Reading) -> tuple[SourceTexts, ...]:
    """Each file (a `Path`), or each list of texts, as a source; a list of strings is one source called "texts".

    Texts are cut at `max_characters`; blank ones are passed over, and texts that are equal but for case and blanks
    count once per source. `DataError` for a file that cannot be read and for a source without texts.
    """
    if isinstance(given, str):
        raise DataError(
            f"texts: found one string, {given[:60]!r}; allowed: a list of strings, or Path objects for files"
        )
    if isinstance(given, Mapping):
        found = [_of_list(name, texts, reading) for name, texts in given.items()]
    else:
        items: list[object] = [given] if isinstance(given, Path) else list(given)
        if items and all(isinstance(item, Path) for item in items):
            found = _of_files([item for item in items if isinstance(item, Path)], reading)
        else:
            found = [_of_list("texts", items, reading)]
    if not found:
        raise DataError("texts: found no source; allowed: at least one file or list of texts")
    return tuple(found)


def names_of(paths: Sequence[str]) -> list[str]:
    """A short name for each path: the file's own, or the whole path if two files share it; `DataError` for repeats."""
    names = [Path(path).name for path in paths]
    repeated = sorted({path for path in paths if paths.count(path) > 1})
    if repeated:
        raise DataError(f"{repeated[0]}: is given twice; allowed: each file once; leave one out")
    return [path if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)]


def _of_files(paths: Sequence[Path], reading: Reading) -> list[SourceTexts]:
    if Path(STDIN) in paths:
        raise DataError("--texts: found -, which cannot be read again after a kill; allowed: files; write it to a file")
    names = names_of([str(path) for path in paths])
    for path in paths:
        Texts([path], reading.columns[0])  # all of them exist and are of a known kind
    there = {path: columns_of(path) for path in paths}
    with_columns = [columns for columns in there.values() if columns is not None]
    for column in reading.columns:
        if len(reading.columns) > 1 and with_columns and not any(column in columns for columns in with_columns):
            known = ", ".join(sorted({one for columns in with_columns for one in columns}))
            raise DataError(f"--column: found {column!r}, which no file has; allowed: {known}")
    return [_of_file(path, name, there[path], reading) for path, name in zip(paths, names, strict=True)]


def _of_file(path: Path, name: str, there: Sequence[str] | None, reading: Reading) -> SourceTexts:
    # Without one of them, the reader of texts says which columns there are.
    columns = tuple(c for c in reading.columns if there is None or c in there) or reading.columns[:1]
    columns = columns[:1] if there is None else columns
    texts = (text.text for column in columns for text in Texts([path], column))
    drawn = _drawn(texts, reading)
    if not drawn.read:
        raise no_rows(path)
    named = () if there is None else columns
    return _source(name, drawn, sha256_of(path), file=str(path), columns=named)


def _of_list(name: str, texts: Iterable[object], reading: Reading) -> SourceTexts:
    if isinstance(texts, str):
        raise DataError(f"texts: source {name!r} is one string; allowed: a list of strings")
    total = hashlib.sha256()

    def checked() -> Iterator[str]:
        for place, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"texts: {name}[{place}] is {text!r}, a {type(text).__name__}; allowed: strings")
            total.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
            yield text

    drawn = _drawn(checked(), reading)
    return _source(name, drawn, total.hexdigest())


def _source(
    name: str, drawn: Draw, sha256: str, *, file: str | None = None, columns: tuple[str, ...] = ()
) -> SourceTexts:
    counts = {"read": drawn.read, "blank": drawn.blank}
    return SourceTexts(name=name, file=file, columns=columns, sha256=sha256, texts=drawn.texts(), **counts)


def _drawn(texts: Iterable[str], reading: Reading) -> Draw:
    draw = Draw(reading.most, reading.seed)
    for text in texts:
        draw.add(text[: reading.max_characters])
    return draw
