"""Queries for tuning, the exact answer to each, and how a search does against it."""

import logging
import sys
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32, Float64, Int64

from matryoshka_text.errors import DataError
from matryoshka_text.search.corpus import Corpus
from matryoshka_text.search.plan import Plan
from matryoshka_text.search.stages import Found, exact
from matryoshka_text.search.structures import Key, Searchable

__all__ = ["Asked", "Indexed", "Queries", "asked_of", "exactly", "ranks_in", "recalls"]

log = logging.getLogger(__name__)

_STAND_INS, _LEAST_QUERIES, _BATCH = 500, 20, 50

Queries = Float32[np.ndarray, "q width"]


class Indexed(Protocol):
    """What the tuner needs of an index."""

    corpus: Corpus

    def __len__(self) -> int: ...
    def structure(self, key: Key) -> Searchable:
        """The structure."""
        ...

    def forget(self, key: Key) -> None:
        """Free it."""
        ...

    def shortlisted(self, queries: Queries, k: int, plan: Plan) -> Found:
        """A search with queries that are turned already."""
        ...

    @property
    def deleted(self) -> Int64[np.ndarray, " n"]:
        """Rows left out."""
        ...

    @property
    def width(self) -> int:
        """Coordinates of a row."""
        ...

    @property
    def dims(self) -> tuple[int, ...]:
        """Prefix lengths to look at."""
        ...


class Asked(NamedTuple):
    """Queries with the exact top k of each; `own` are the row numbers of stand-ins, which do not find themselves."""

    queries: Queries
    truth: Int64[np.ndarray, "q k"]
    own: Int64[np.ndarray, " q"] | None

    def half(self, *, first: bool) -> "Asked":
        """Every other query, from the first or from the second."""
        return self._of(slice(0, None, 2) if first else slice(1, None, 2))

    def first(self, count: int) -> "Asked":
        """The first `count` queries."""
        return self._of(slice(count))

    def _of(self, chosen: slice) -> "Asked":
        own = None if self.own is None else self.own[chosen]
        return Asked(self.queries[chosen], self.truth[chosen], own)


def exactly(index: Indexed, queries: Queries, k: int) -> Found:
    """Exact search without the rows that were deleted."""
    return exact(index.corpus, queries, k, without=index.deleted)


def asked_of(index: Indexed, queries: Queries | None, k: int, seed: int) -> Asked:
    """Queries with their exact top `k`; None: rows stand in. `DataError` for too few of them."""
    if queries is not None:
        if len(queries) < _LEAST_QUERIES:
            raise DataError(
                f"queries: found {len(queries)}; allowed: at least {_LEAST_QUERIES}, half to choose a plan by and half "
                "to confirm it; leave them out, and rows of the index stand in"
            )
        return Asked(queries, exactly(index, queries, k).rows, None)
    alive = np.setdiff1d(np.arange(len(index.corpus)), index.deleted)
    own = np.random.default_rng(seed).permutation(alive)[:_STAND_INS]
    if len(own) < _LEAST_QUERIES:
        raise DataError(
            f"the index has {len(own)} rows; allowed for tuning: at least {_LEAST_QUERIES}; use exact search"
        )
    log.info("no queries are given: %s rows of the index stand in, which makes recall look better than it is", len(own))
    rows = index.corpus.gather(own, index.width)
    truth = exactly(index, rows, k + 1).rows
    return Asked(rows, _others(truth, own, k), own)


def _others(rows: Int64[np.ndarray, "q n"], own: Int64[np.ndarray, " q"], k: int) -> Int64[np.ndarray, "q k"]:
    """The first `k` of each line that are not the query itself."""
    return np.stack([line[line != row][:k] for line, row in zip(rows, own, strict=True)])


def ranks_in(
    lists: Callable[[Queries], Int64[np.ndarray, "q n"]], asked: Asked, *, most: int
) -> Int64[np.ndarray, "q k"]:
    """Where `lists` of rows, best first, have each true neighbour, from 0; `most` where they do not have it."""
    found = np.empty(asked.truth.shape, dtype=np.int64)
    for start in range(0, len(asked.queries), _BATCH):
        part = slice(start, start + _BATCH)
        for place, (line, true) in enumerate(zip(lists(asked.queries[part]), asked.truth[part], strict=True), start):
            order = np.argsort(line, kind="stable")
            at = np.minimum(np.searchsorted(line[order], true), len(line) - 1)
            found[place] = np.where(line[order][at] == true, order[at], most)
    return found


def recalls(index: Indexed, plan: Plan, asked: Asked, k: int) -> Float64[np.ndarray, " q"]:
    """By query, the share of the exact top `k` that the plan finds."""
    own = asked.own
    found = index.shortlisted(asked.queries, k if own is None else min(k + 1, _kept(plan)), plan).rows
    lines = found if own is None else [line[line != row][:k] for line, row in zip(found, own, strict=True)]
    return np.array([np.isin(true, line).mean() for line, true in zip(lines, asked.truth, strict=True)])


def _kept(plan: Plan) -> int:
    return min((stage.keep for stage in plan.stages if stage.keep is not None), default=sys.maxsize)
