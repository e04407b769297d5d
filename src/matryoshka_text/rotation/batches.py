"""Batches in which texts have real neighbours: anchors of one source, each with its nearest texts of that source."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

__all__ = ["neighbourhood_batches"]


def neighbourhood_batches(
    neighbours_by_source: Sequence[Int64[Tensor, "_ neighbours"]], *, anchors: int, seed: int
) -> Iterator[tuple[int, Int64[Tensor, " n"]]]:
    """Without end: (source, its rows): at most `anchors` of them with all their `neighbours`, each row once.

    The sources take turns in an order drawn anew each round, so that each has as many batches as any other; within a
    source the anchors are dealt out without repeats until all have had a turn. In a random batch hardly any text has a
    real neighbour, and in one of several sources the easy differences between sources swallow the first dims.
    """
    rng = np.random.default_rng(seed)
    decks: list[np.ndarray] = [np.empty(0, dtype=np.int64) for _ in neighbours_by_source]
    while True:
        for source in rng.permutation(len(neighbours_by_source)).tolist():
            neighbours = neighbours_by_source[source]
            if len(decks[source]) < min(anchors, len(neighbours)):
                decks[source] = rng.permutation(len(neighbours))
            chosen, decks[source] = np.split(decks[source], [min(anchors, len(neighbours))])
            rows = torch.from_numpy(chosen)
            yield source, torch.unique(torch.cat([rows, neighbours[rows].flatten()]))
