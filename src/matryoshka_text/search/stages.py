"""A plan carried out: the first stage by a structure, later ones exactly, over the rows that are left."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from matryoshka_text.errors import DataError
from matryoshka_text.search.corpus import Corpus
from matryoshka_text.search.plan import Plan
from matryoshka_text.search.stage import Stage
from matryoshka_text.search.structures import Key, Searchable, faiss

__all__ = ["Found", "exact", "searched"]

_TINY = np.float32(1e-12)
Vectors = Float32[np.ndarray, "q width"]
Rows = Int64[np.ndarray, " n"]


class Found(NamedTuple):
    """Row numbers, best first, -1 if there are no more; cosines at full width, -infinity there."""

    rows: Int64[np.ndarray, "q k"]
    scores: Float32[np.ndarray, "q k"]


def searched(
    corpus: Corpus, queries: Vectors, k: int, plan: Plan, *, structure: Callable[[Key], Searchable], without: Rows
) -> Found:
    """The `k` best rows of each unit query by the plan, leaving out the rows `without` (sorted).

    `DataError` for k that is not between 1 and what the plan keeps.
    """
    kept = min((stage.keep for stage in plan.stages if stage.keep is not None), default=None)
    if k < 1 or (kept is not None and k > kept):
        upper = "" if kept is None else f" to {kept}, what the plan keeps; tune for a larger k"
        raise DataError(f"k: found {k}; allowed: whole numbers from 1{upper}")
    first, *later = plan.stages
    if not later and (first.structure, first.precision, first.dim) == ("flat", "float32", corpus.width):
        return exact(corpus, queries, k, without=without)
    shortlist = structure(Key.of(first)).search(queries, first.keep or k, effort=first.effort, without=without)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    # A plan of one stage is ordered at full width too: its structure may know codes only.
    stages = later or [Stage(dim=corpus.width)]
    for place, (query, line) in enumerate(zip(queries, shortlist, strict=True)):
        left, cosines = line[line >= 0], np.empty(0, dtype=np.float32)
        for stage in stages:
            keep = k if stage is stages[-1] or stage.keep is None else stage.keep
            left, cosines = _narrowed(corpus, query, left, dim=stage.dim, keep=keep)
        rows[place, : len(left)], scores[place, : len(left)] = left, cosines
    return Found(rows, scores)


def exact(corpus: Corpus, queries: Vectors, k: int, *, without: Rows | None = None) -> Found:
    """The `k` best rows by all coordinates, from a scan of every block; equal scores in the order of the rows."""
    gone = np.empty(0, dtype=np.int64) if without is None else without
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    start = 0
    for block in corpus.blocks():
        here = gone[(gone >= start) & (gone < start + len(block))] - start
        more, places = faiss().knn(queries, block, min(k + len(here), len(block)), metric=faiss().METRIC_INNER_PRODUCT)
        if len(here):
            more = np.where(np.isin(places, here), np.float32(-np.inf), more)
        both, where = np.concatenate([scores, more], axis=1), np.concatenate([rows, places + start], axis=1)
        best = np.argsort(-both, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(both, best, axis=1), np.take_along_axis(where, best, axis=1)
        start += len(block)
    return Found(np.where(np.isfinite(scores), rows, -1), scores)


def _narrowed(
    corpus: Corpus, query: Float32[np.ndarray, " width"], rows: Rows, dim: int, keep: int
) -> tuple[Rows, Float32[np.ndarray, " n"]]:
    """The best `keep` of `rows` by the cosines of their first `dim` coordinates, best first."""
    prefixes, asked = corpus.gather(rows, dim), query[:dim]
    cosines = prefixes @ (asked / max(np.linalg.norm(asked), _TINY))
    if dim < corpus.width:
        cosines /= np.maximum(np.sqrt(np.einsum("nd,nd->n", prefixes, prefixes)), _TINY)
    best = np.argpartition(-cosines, keep)[:keep] if keep < len(rows) else np.arange(len(rows))
    best = best[np.lexsort((rows[best], -cosines[best]))]
    return rows[best], cosines[best]
