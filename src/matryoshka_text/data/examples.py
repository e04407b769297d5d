"""All training examples of a recipe in one place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from matryoshka_text.data.sources import SourceRows, read_source
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import Recipe, Source

__all__ = ["Examples", "assembled", "read_examples"]


@dataclass(frozen=True)
class Examples:
    """Texts to train on, column by column: anchor, positive, negative 1, …, all of the same length.

    `source[i]` is the index in `names` of the source that row i came from.
    """

    columns: tuple[list[str], ...]
    numbers: Int[np.ndarray, " rows"]
    source: Int[np.ndarray, " rows"]
    names: tuple[str, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def negatives(self) -> int:
        """Hard negatives of each row."""
        return len(self.columns) - 2

    def place(self, row: int) -> str:
        """Where row `row` came from: data/nli.jsonl.gz:17, or hub owner/name[config] train:17.

        A triplet made from labelled pairs names the row of its entailed pair.
        """
        return f"{self.labels[self.source[row]]}:{self.numbers[row]}"


def read_examples(recipe: Recipe) -> Examples:
    """The rows of all sources, one source after the other; `DataError` with the faults of all sources."""
    found: list[SourceRows] = []
    faults: list[str] = []
    for index, source in enumerate(recipe.data):
        try:
            found.append(read_source(source, recipe.folder, key=f"data[{index}]", seed=recipe.seed))
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return assembled(recipe.data, found)


def assembled(sources: Sequence[Source], found: Sequence[SourceRows]) -> Examples:
    """The rows that were found for `sources`; `DataError` where their numbers of hard negatives differ."""
    _require_equal_negatives(sources, found)
    rows = [texts for part in found for texts in part.texts]
    return Examples(
        columns=tuple(list(column) for column in zip(*rows, strict=True)),
        numbers=np.asarray([number for part in found for number in part.numbers], dtype=np.int64),
        source=np.repeat(np.arange(len(found), dtype=np.int16), [len(part.texts) for part in found]),
        names=tuple(source.name for source in sources),
        labels=tuple(part.label for part in found),
    )


def _require_equal_negatives(sources: Sequence[Source], found: Sequence[SourceRows]) -> None:
    first = found[0].negatives
    lines = [
        f"data[{index}]: {sources[index].name!r} gives {part.negatives} hard negatives a row, data[0] "
        f"({sources[0].name!r}) gives {first}; allowed: the same number in every source; "
        "name the same number of negatives, or use kind pairs for all"
        for index, part in enumerate(found)
        if part.negatives != first
    ]
    if lines:
        raise DataError("\n".join(lines))
