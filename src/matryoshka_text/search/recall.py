"""Recall from ranks: how long a shortlist has to be, and how sure that is."""

from bisect import bisect_left

import numpy as np
from jaxtyping import Float64, Int64

__all__ = ["per_query", "recall_interval", "sufficient"]

_DRAWS = 1000


def per_query(ranks: Int64[np.ndarray, "q k"], keep: int) -> Float64[np.ndarray, " q"]:
    """By query, the share of the true neighbours among the first `keep`."""
    return (ranks < keep).mean(axis=1)


def recall_interval(shares: Float64[np.ndarray, " q"], seed: int = 0) -> tuple[float, float]:
    """The 95% bootstrap interval of the mean over queries."""
    draw = np.random.default_rng(seed).integers(0, len(shares), (_DRAWS, len(shares)))
    low, high = np.quantile(shares[draw].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def sufficient(
    ranks: Int64[np.ndarray, "q k"], target: float, *, least: int, most: int, seed: int = 0
) -> tuple[int, float] | None:
    """The shortest shortlist whose recall is at least `target` by the lower end of the interval, and that lower end.

    Exact, since recall never falls with the length: the interval is of the same draws for all. None if not even `most`
    is long enough.
    """

    def low(length: int) -> float:
        return recall_interval(per_query(ranks, length), seed)[0]

    length = least + bisect_left(range(least, most + 1), target, key=low)
    return (length, low(length)) if length <= most else None
