"""How well prefixes do by themselves and as a shortlist, and what rankings are worth to judges."""

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np
from measure import table
from search_texts import Material

__all__ = ["K", "prefixes", "quality"]

K = 10
IP = faiss.METRIC_INNER_PRODUCT


def quality(found: np.ndarray, relevant: Sequence[set[int]]) -> tuple[float, float]:
    """nDCG@10, and mAP@10 as the Matryoshka paper has it (divided by 10)."""
    gain, precision = 1 / np.log2(np.arange(2, K + 2)), []
    discounted = []
    for line, good in zip(found.tolist(), relevant, strict=True):
        hits = np.array([row in good for row in line], dtype=float)
        discounted.append(float(hits @ gain) / (float(gain[: min(K, len(good))].sum()) or 1.0))
        precision.append(float((hits * np.cumsum(hits) / np.arange(1, K + 1)).sum()) / K)
    return float(np.mean(discounted)), float(np.mean(precision))


def ranks(rows: np.ndarray, queries: np.ndarray, truth: np.ndarray, dim: int) -> np.ndarray:
    """How many rows a prefix puts before each true neighbour, counted over all rows."""
    unit = [part[:, :dim] / np.linalg.norm(part[:, :dim], axis=1, keepdims=True) for part in (rows, queries)]
    scores = unit[1] @ unit[0].T
    return np.stack(
        [(line[None, :] > line[true][:, None]).sum(axis=1) for line, true in zip(scores, truth, strict=True)]
    )


def prefixes(
    x: np.ndarray, turned: np.ndarray, half: Material, turn: Any, *, truth: np.ndarray, dims: Sequence[int]
) -> None:
    """Print how well prefixes do by themselves and as a shortlist: as the model gives them, and rotated."""
    head = ["dim", "untouched: recall with 200 kept", "rotated", "untouched: kept for 0.99", "rotated"]
    lines, some = [], slice(0, 300)
    for dim in dims:
        pair = [
            ranks(rows, asked[some], truth[some], dim)
            for rows, asked in ((x, half.queries), (turned, turn(half.queries)))
        ]
        kept = [f"{(one < 200).mean():.3f}" for one in pair]
        lines.append([dim, *kept, *(f"{int(np.quantile(one, 0.99, method='higher')) + 1:,}" for one in pair)])
    print(table(head, lines), flush=True)
    if half.relevant:
        for dim in dims:
            shares = []
            for rows, asked in ((x, half.queries), (turned, turn(half.queries))):
                low = rows[:, :dim] / np.linalg.norm(rows[:, :dim], axis=1, keepdims=True)
                best = faiss.knn(np.ascontiguousarray(asked[:, :dim]), low, K, metric=IP)[1]
                shares.append(quality(best, half.relevant)[0])
            whole = quality(truth, half.relevant)[0]
            print(
                f"nDCG@10 kept at {dim} dims only: untouched {shares[0] / whole:.1%}, rotated {shares[1] / whole:.1%}"
            )
