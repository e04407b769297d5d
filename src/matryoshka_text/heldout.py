"""Scores of held-out pairs at every prefix, from vectors encoded once."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr

__all__ = ["retrieval_score", "similarity_score"]


def similarity_score(
    first: Float[np.ndarray, "n d"],
    second: Float[np.ndarray, "n d"],
    gold: Float[np.ndarray, " n"],
    dims: Sequence[int],
) -> list[float]:
    """Spearman correlation x 100 of the prefixes' cosine with `gold`, one per dim."""
    return [100 * float(spearmanr(np.sum(_unit(first[:, :m]) * _unit(second[:, :m]), 1), gold).statistic) for m in dims]


def retrieval_score(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"], dims: Sequence[int], *, block: int = 1024
) -> list[float]:
    """Mean reciprocal rank x 100, cut at 10, of each row's own partner among all partners, one per dim.

    Ties count against the partner.
    """
    scores = []
    for dim in dims:
        queries, candidates = _unit(first[:, :dim]), _unit(second[:, :dim])
        ranks = []
        for start in range(0, len(queries), block):
            similarity = queries[start : start + block] @ candidates.T
            own = similarity[np.arange(len(similarity)), np.arange(start, start + len(similarity))]
            ranks.append((similarity >= own[:, None]).sum(1))
        rank = np.concatenate(ranks)
        scores.append(100 * float(np.where(rank <= 10, 1 / rank, 0).mean()))
    return scores


def _unit(vectors: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms < 1e-12, 1, norms)
