"""What a search gives back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from matryoshka_text.search.corpus import Corpus
from matryoshka_text.search.stages import Found

__all__ = ["Hits", "hits_of"]


@dataclass(frozen=True)
class Hits:
    """The best documents of each query, best first: ids, cosines at full width and row numbers (-1: none was found)."""

    ids: list[list[Any]]
    scores: Float32[np.ndarray, "q k"]
    rows: Int64[np.ndarray, "q k"]

    def __iter__(self) -> Iterator[Any]:
        """`ids, scores = hits`."""
        return iter((self.ids, self.scores))


def hits_of(corpus: Corpus, found: Found) -> Hits:
    """The rows that were found, with the ids of their documents."""
    there = found.rows >= 0
    ids = iter(corpus.column("id", found.rows[there]))
    lines = [[next(ids) if is_there else None for is_there in line] for line in there.tolist()]
    return Hits(lines, found.scores, found.rows)
