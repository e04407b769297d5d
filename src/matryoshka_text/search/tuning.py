"""The tuner: the fastest plan that keeps the recall asked for, on this machine and these vectors."""

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from matryoshka_text.errors import DataError
from matryoshka_text.progress import Progress
from matryoshka_text.rows import Precision
from matryoshka_text.search.asked import Asked, Indexed, Queries, asked_of, exactly, ranks_in, recalls
from matryoshka_text.search.plan import Measured, Plan, Stage, Structure
from matryoshka_text.search.recall import per_query, recall_interval, sufficient
from matryoshka_text.search.structures import Key, faiss, lists_for

__all__ = ["Candidate", "Tuning", "milliseconds", "tuned"]

log = logging.getLogger(__name__)

_TIMED, _PROBED = 25, 40
_EFFORTS = (32, 64, 128, 256, 512, 1024, 2048)
_LEAST_KEPT, _MOST_KEPT = 500, 10_000


@dataclass(frozen=True)
class Candidate:
    """A plan that was looked at: the lower bound of its recall on the first half of the queries, and its time.

    `plan` None: not even `most` kept rows reach the recall; `reached` is what they do.
    """

    key: Key
    effort: int | None
    plan: Plan | None
    reached: float
    milliseconds: float

    def __str__(self) -> str:
        what = str(
            Stage(dim=self.key.dim, structure=self.key.structure, precision=self.key.precision, effort=self.effort)
        )
        if self.plan is None:
            return f"{what}: recall {self.reached:.3f} at most"
        return f"{self.plan}: recall at least {self.reached:.3f}, {self.milliseconds:.2f} ms"


@dataclass(frozen=True)
class Tuning:
    """The plan that was chosen, with what was measured, and all that were looked at, the fastest first."""

    plan: Plan
    candidates: tuple[Candidate, ...]

    @property
    def reason(self) -> str:
        """The choice in one line."""
        return str(self.plan)


def tuned(
    index: Indexed,
    queries: Queries | None,
    *,
    k: int,
    target: float,
    dims: Sequence[int] | None = None,
    precisions: Sequence[Precision] = ("float32", "int8", "binary"),
    structures: Sequence[Structure] = ("flat",),
    seed: int = 0,
    progress: bool = False,
) -> Tuning:
    """The fastest plan whose recall of the exact top `k` is at least `target`, with 97.5% confidence.

    Half of the queries choose. For each first stage the rank of every true neighbour is looked up in its own order of
    the rows; the smallest sufficient shortlist is a quantile of these ranks. Times are measured here, one query at a
    time, with FAISS's threads as they are set. The plan is confirmed on the other half of the queries, and its recall
    is what those say. Exact search is always among the plans. `queries` None: up to 500 rows stand in, which is
    optimistic.
    `DataError` for a target that is not in (0, 1], k out of range, and fewer than 20 queries.
    """
    if not 0 < target <= 1:
        raise DataError(f"recall: found {target}; allowed: above 0, at most 1")
    if not 1 <= k < len(index):
        raise DataError(f"k: found {k}; allowed: 1 to {len(index) - 1}, fewer than the index has rows")
    asked = asked_of(index, queries, k, seed)
    choose, confirm = asked.half(first=True), asked.half(first=False)
    most = min(len(index), max(_LEAST_KEPT, min(_MOST_KEPT, len(index) // 100)))
    exact_ms = milliseconds(partial(exactly, index, k=k), choose.queries)
    keys = [
        Key(dim, structure, precision)
        for dim in (dims or [dim for dim in _dims(index) if dim < index.width])
        for structure in structures
        for precision in precisions
        if structure != "pq" or (precision == "float32" and dim % 2 == 0)
    ]
    found = []
    best = exact_ms
    with Progress("tune", "structures", len(keys), shown=progress) as bar:
        for key in keys:
            for candidate in _looked_at(index, key, choose, most, k=k, target=target, fastest=best):
                found.append(candidate)
                if candidate.plan is not None:
                    best = min(best, candidate.milliseconds)
            index.forget(key)
            bar(1)
    found += _funnels(index, found, choose, k=k, target=target)
    ranked = sorted((c for c in found if c.plan is not None), key=lambda c: c.milliseconds)
    plan = _confirmed(
        index, [c for c in ranked if c.milliseconds < exact_ms], confirm, k=k, target=target, exact_ms=exact_ms
    )
    missed = sorted((c for c in found if c.plan is None), key=lambda c: -c.reached)
    return Tuning(plan, (*ranked, *missed))


def _looked_at(
    index: Indexed, key: Key, asked: Asked, most: int, *, k: int, target: float, fastest: float
) -> Iterator[Candidate]:
    """A candidate for each effort of the structure; none where the scan itself takes longer than `fastest`."""
    if key.structure == "hnsw":
        yield _walked(index, key, asked, k=k, target=target)
        return
    searchable = index.structure(key)
    for effort in _efforts(key.structure, len(index)):
        scan = milliseconds(partial(searchable.search, keep=k, effort=effort, without=index.deleted), asked.queries)
        if scan > fastest:
            continue

        probe = ranks_in(index, searchable, asked.first(_PROBED), most=most, effort=effort)
        if (reached := float(per_query(probe, most).mean())) < target - 0.05:
            yield Candidate(key, effort, None, reached, scan)
            continue
        ranks = ranks_in(index, searchable, asked, most=most, effort=effort)
        enough = sufficient(ranks, target, least=k, most=most)
        if enough is None:
            yield Candidate(key, effort, None, float(per_query(ranks, most).mean()), scan)
            continue
        keep, low = enough
        plan = _two_stages(key, effort, keep, index.width)
        taken = milliseconds(partial(index.shortlisted, k=k, plan=plan), asked.queries)
        yield Candidate(key, effort, plan, low, taken)


def _walked(index: Indexed, key: Key, asked: Asked, *, k: int, target: float) -> Candidate:
    """The least effort of a graph that is enough.

    A graph's search opens as many candidates as it is to return, so ranks in a long list would say too much: each
    effort is tried with a shortlist as long.
    """
    reached, taken = 0.0, 0.0
    for effort in _EFFORTS:
        plan = _two_stages(key, effort, max(k + 1, min(effort, len(index))), index.width)
        shares = recalls(index, plan, asked, k)
        low, reached = recall_interval(shares)[0], float(shares.mean())
        taken = milliseconds(partial(index.shortlisted, k=k, plan=plan), asked.queries)
        if low >= target:
            return Candidate(key, effort, plan, low, taken)
    return Candidate(key, effort, None, reached, taken)


def _two_stages(key: Key, effort: int | None, keep: int, width: int) -> Plan:
    first = Stage(dim=key.dim, structure=key.structure, precision=key.precision, effort=effort, keep=keep)
    return Plan(stages=(first, Stage(dim=width)))


def _funnels(index: Indexed, found: Sequence[Candidate], asked: Asked, *, k: int, target: float) -> list[Candidate]:
    """The fastest candidates with a longer prefix between their first stage and the last, where that is faster."""
    made = []
    ranked = sorted((c for c in found if c.plan is not None), key=lambda c: c.milliseconds)
    between = {c.key.dim: c.plan.stages[0].keep for c in ranked if c.plan and c.key.precision == "float32"}
    for candidate in ranked[:3]:
        assert candidate.plan is not None
        first, last = candidate.plan.stages
        for dim, keep in between.items():
            # Rows that a prefix ranks among its best of all stay among its best of fewer.
            if keep is None or first.keep is None or dim <= first.dim or keep * 2 > first.keep:
                continue
            plan = Plan(stages=(first, Stage(dim=dim, keep=keep), last))
            shares = recalls(index, plan, asked, k)
            low = recall_interval(shares)[0]
            taken = milliseconds(partial(index.shortlisted, k=k, plan=plan), asked.queries)
            if low >= target and taken < candidate.milliseconds:
                made.append(Candidate(candidate.key, candidate.effort, plan, low, taken))
    return made


def _confirmed(
    index: Indexed, ranked: Sequence[Candidate], asked: Asked, *, k: int, target: float, exact_ms: float
) -> Plan:
    """The first plan whose mean recall on queries it was not chosen by reaches the target; else exact search."""

    def measured(plan: Plan, shares: Float64[np.ndarray, " q"], milliseconds: float) -> Plan:
        low, high = recall_interval(shares)
        what = Measured(
            k=k,
            target=target,
            recall=float(shares.mean()),
            low=low,
            high=high,
            queries=len(shares),
            rows=len(index),
            milliseconds=milliseconds,
            exact_milliseconds=exact_ms,
            threads=faiss().omp_get_max_threads(),
            stand_ins=asked.own is not None,
        )
        return plan.model_copy(update={"measured": what})

    for candidate in ranked:
        assert candidate.plan is not None
        shares = recalls(index, candidate.plan, asked, k)
        if shares.mean() >= target:
            return measured(candidate.plan, shares, candidate.milliseconds)
        log.info("%s: recall %.3f on the queries held back, so it is not taken", candidate.plan, shares.mean())
    log.info("no shorter search keeps recall %s faster than exact search, so the plan is exact search", target)
    return measured(Plan.exact(index.width), np.ones(len(asked.queries)), exact_ms)


def _dims(index: Indexed) -> list[int]:
    """The index's dims, and those half-way between two of them from an eighth of the width up."""
    dims = list(index.dims)
    halves = [(a, (a + b) // 16 * 8) for a, b in pairwise(dims) if a * 16 >= index.width]
    return sorted({*dims, *(half for below, half in halves if half > below)})


def _efforts(structure: Structure, rows: int) -> tuple[int | None, ...]:
    if structure == "ivf":
        lists = lists_for(rows)
        return tuple(sorted({min(lists, effort) for effort in (4, 8, 16, 32, 64, 128)}))
    return (None,)


def milliseconds(search: Callable[[Queries], object], queries: Queries) -> float:
    """The median time of one query at a time."""
    search(queries[:1])
    taken = []
    for place in range(min(_TIMED, len(queries))):
        start = time.perf_counter()
        search(queries[place : place + 1])
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)
