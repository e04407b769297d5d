"""One training source as rows of texts, with what else is known of each row."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from matryoshka_text.data.hub import open_hub
from matryoshka_text.data.kinds import Example, column_names, examples_in
from matryoshka_text.data.vectors import read_vectors
from matryoshka_text.errors import DataError
from matryoshka_text.files import expanded
from matryoshka_text.reading import Faults, Table, open_table, require_columns
from matryoshka_text.recipe import HeldOut, Source

__all__ = ["SourceRows", "open_section", "path_of", "read_source", "sampled"]


@dataclass(frozen=True)
class SourceRows:
    """The examples of one source, each with the number of its row.

    `texts` are (anchor, positive, negative…) of pairs, (text,) of single texts, (sentence1, sentence2) of scored pairs.
    `values` holds the classes of labelled texts (as texts) or the scores of scored pairs; `vectors` a teacher's
    vectors, an array for each column of texts.
    """

    label: str
    texts: list[tuple[str, ...]]
    numbers: list[int]
    values: list[str | float] | None = None
    vectors: tuple[Float[np.ndarray, "rows width"], ...] | None = None

    @property
    def negatives(self) -> int:
        """Hard negatives of each example of pairs or triplets."""
        return len(self.texts[0]) - 2


def read_source(source: Source, folder: Path, *, key: str = "data", seed: int = 0) -> SourceRows:
    """The examples of `source`, whose files are relative to `folder`; `DataError` with the faults' places.

    `key` is the source's key in the recipe, for messages. With `rows`, a sample drawn by `seed`, in file order. A
    mined source gives its single texts: pairs need a model.
    """
    faults = Faults()
    columns = column_names(source)
    table = open_section(source, folder, faults, key=key)
    require_columns(table, columns, key)
    found = list(examples_in(table, source, faults))
    faults.raise_any()
    if not found:
        what = "premise with both an entailed and a contradicted hypothesis" if source.kind == "nli" else "rows"
        raise DataError(f"{table.label}: found no {what}; allowed: at least one; use more data, or another kind")
    vectors = _vectors_of(source, found, folder, key)
    kept = sampled(len(found), source.rows, f"{seed}:{source.name}")
    found = [found[i] for i in kept]
    values = [example.value for example in found if example.value is not None]
    return SourceRows(
        table.label,
        texts=[example.texts for example in found],
        numbers=[example.number for example in found],
        values=values or None,
        vectors=tuple(column[kept] for column in vectors) if vectors is not None else None,
    )


def open_section(section: Source | HeldOut, folder: Path, faults: Faults, *, key: str) -> Table:
    """The table that `section` names, from a file or from the hub."""
    wanted = tuple(column_names(section).values())
    if section.file is not None:
        return open_table(path_of(section.file, folder), faults, wanted, key=f"{key}.file")
    return open_hub(section, wanted, key)


def path_of(file: str, folder: Path) -> Path:
    """The path that a recipe in `folder` means by `file`, relative to the working folder if it lies below it."""
    path = (folder / expanded(file)).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def sampled(count: int, most: int | None, salt: str) -> list[int]:
    """Which of `count` rows a sample of at most `most` takes, ascending.

    The rows with the smallest sha256 of "salt:row": the same on every machine and with every version of every library.
    """
    if most is None or count <= most:
        return list(range(count))
    return sorted(sorted(range(count), key=lambda row: hashlib.sha256(f"{salt}:{row}".encode()).digest())[:most])


def _vectors_of(
    source: Source, found: list[Example], folder: Path, key: str
) -> tuple[Float[np.ndarray, "rows width"], ...] | None:
    """The teacher's vectors of all examples, before any sample is taken: their order is that of the file."""
    if source.vectors is None:
        return None
    negatives = (f"negative_{index}" for index in range(len(found[0].texts) - 2))
    path = path_of(source.vectors, folder)
    return read_vectors(path, ("anchor", "positive", *negatives), rows=len(found), key=f"{key}.vectors")
