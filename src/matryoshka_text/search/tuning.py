"""The tuner: the fastest plan that keeps the recall asked for, on this machine and these vectors."""

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from matryoshka_text.errors import DataError
from matryoshka_text.progress import Progress
from matryoshka_text.rows import Precision
from matryoshka_text.search.asked import Asked, Indexed, Queries, asked_of, exactly, ranks_in, recalls
from matryoshka_text.search.plan import Measured, Plan
from matryoshka_text.search.recall import per_query, recall_interval, sufficient
from matryoshka_text.search.stage import Stage, Structure
from matryoshka_text.search.stages import searched
from matryoshka_text.search.structures import PQ_ROWS, Key, faiss, lists_for

__all__ = ["Candidate", "Tuning", "milliseconds", "tuned"]

log = logging.getLogger(__name__)

_TIMED, _PROBED, _REFINED = 25, 40, 3
# Longer shortlists that are tried if a plan falls short on the queries held back: at most 2.4 times as long.
_LENGTHENED = 5
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
    structures: Sequence[Structure] = ("pq", "flat"),
    seed: int = 0,
    progress: bool = False,
) -> Tuning:
    """The fastest plan whose recall of the exact top `k` is at least `target`, with 97.5% confidence.

    Half of the queries choose. For each first stage the rank of every true neighbour is looked up in its own order of
    the rows; the smallest sufficient shortlist is a quantile of these ranks. If a dim is too short for the recall,
    shorter ones are not tried in the same structure and precision, and nothing whose scan takes longer than the
    fastest plan so far. Times are measured here, one query at a time, with FAISS's threads as they are set. The plan is
    confirmed on the other half of the queries, with longer shortlists if need be, and its recall is what those say.
    Exact search is always among the plans. `queries` None: up to 500 rows stand in, which is optimistic.
    `DataError` for a target that is not in (0, 1], k out of range, and fewer than 20 queries.
    """
    _require_possible(target, k, len(index))
    asked = asked_of(index, queries, k, seed)
    choose, confirm = asked.half(first=True), asked.half(first=False)
    most = min(len(index), max(_LEAST_KEPT, min(_MOST_KEPT, len(index) // 100)))
    exact_ms = milliseconds(partial(exactly, index, k=k), choose.queries)
    dims = dims or [dim for dim in _dims(index) if dim < index.width]
    # Product codes first, the longest first of all: what is fastest most often spares the search through the others.
    keys = [
        Key(dim, structure, precision)
        for structure in sorted(structures, key=lambda structure: structure != "pq")
        for dim in sorted(dims, reverse=True)
        for precision in precisions
        if structure != "pq" or (precision == "float32" and dim % 2 == 0 and len(index.corpus) >= PQ_ROWS)
    ]
    found: list[Candidate] = []
    too_short: set[tuple[Structure, Precision]] = set()
    with Progress("tune", "structures", len(keys), shown=progress) as bar:
        for key in keys:
            bar(1)
            if (key.structure, key.precision) in too_short:
                continue
            best = _fastest(found, 1)
            fastest = best[0].milliseconds if best else exact_ms
            looked = list(_looked_at(index, key, choose, most, k=k, target=target, fastest=fastest))
            found += looked
            if looked and all(candidate.plan is None for candidate in looked):
                too_short.add((key.structure, key.precision))
            for other in {key, *(candidate.key for candidate in found)} - {c.key for c in _fastest(found, _REFINED)}:
                index.forget(other)
    found += _funnels(index, found, choose, dims, k=k, target=target)
    ranked = _fastest(found)
    plan = _confirmed(
        index, [c for c in ranked if c.milliseconds < exact_ms], confirm, k=k, target=target, exact_ms=exact_ms
    )
    missed = sorted((c for c in found if c.plan is None), key=lambda c: -c.reached)
    return Tuning(plan, (*ranked, *missed))


def _require_possible(target: float, k: int, rows: int) -> None:
    if not 0 < target <= 1:
        raise DataError(f"recall: found {target}; allowed: above 0, at most 1")
    if not 1 <= k < rows:
        raise DataError(f"k: found {k}; allowed: 1 to {rows - 1}, fewer than the index has rows")


def _fastest(found: Sequence[Candidate], count: int | None = None) -> list[Candidate]:
    """Those that have a plan, the fastest first."""
    return sorted((c for c in found if c.plan is not None), key=lambda c: c.milliseconds)[:count]


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
        lists = partial(searchable.search, keep=most, effort=effort, without=index.deleted)
        probe = ranks_in(lists, asked.first(_PROBED), most=most)
        if (reached := float(per_query(probe, most).mean())) < target - 0.05:
            yield Candidate(key, effort, plan=None, reached=reached, milliseconds=scan)
            continue
        ranks = ranks_in(lists, asked, most=most)
        enough = sufficient(ranks, target, least=k, most=most)
        if enough is None:
            yield Candidate(key, effort, plan=None, reached=float(per_query(ranks, most).mean()), milliseconds=scan)
            continue
        keep, low = enough
        plan = _two_stages(key, effort, keep, index.width)
        taken = milliseconds(partial(index.shortlisted, k=k, plan=plan), asked.queries)
        yield Candidate(key, effort, plan=plan, reached=low, milliseconds=taken)


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
            return Candidate(key, effort, plan=plan, reached=low, milliseconds=taken)
    return Candidate(key, effort, plan=None, reached=reached, milliseconds=taken)


def _two_stages(key: Key, effort: int | None, keep: int, width: int) -> Plan:
    first = Stage(dim=key.dim, structure=key.structure, precision=key.precision, effort=effort, keep=keep)
    return Plan(stages=(first, Stage(dim=width)))


def _funnels(
    index: Indexed, found: Sequence[Candidate], asked: Asked, dims: Sequence[int], *, k: int, target: float
) -> list[Candidate]:
    """The fastest candidates with a longer prefix between their first stage and the last, if that is faster."""
    made = []
    for candidate in _fastest(found, _REFINED):
        assert candidate.plan is not None
        first, last = candidate.plan.stages
        most = first.keep or k
        for dim in (dim for dim in dims if first.dim < dim < last.dim):
            # At least one more than k: a stand-in finds itself.
            ranks = ranks_in(partial(_ordered, index, first, dim), asked, most=most)
            enough = sufficient(ranks, target, least=k + 1, most=most)
            if enough is None or enough[0] * 2 > most:
                continue
            plan = Plan(stages=(first, Stage(dim=dim, keep=enough[0]), last))
            taken = milliseconds(partial(index.shortlisted, k=k, plan=plan), asked.queries)
            if taken < candidate.milliseconds:
                made.append(
                    Candidate(candidate.key, candidate.effort, plan=plan, reached=enough[1], milliseconds=taken)
                )
    return made


def _ordered(index: Indexed, first: Stage, dim: int, queries: Queries) -> Int64[np.ndarray, "q n"]:
    """What the first stage keeps, in the order of the first `dim` coordinates."""
    plan = Plan(stages=(first, Stage(dim=dim)))
    keep = first.keep or 1
    return searched(index.corpus, queries, keep, plan, structure=index.structure, without=index.deleted).rows


def _confirmed(
    index: Indexed, ranked: Sequence[Candidate], asked: Asked, *, k: int, target: float, exact_ms: float
) -> Plan:
    """The first plan whose mean recall on queries it was not chosen by reaches the target; else exact search.

    A plan that falls short is tried with longer shortlists before the next one: what chose it was a sample.
    """

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
        plan, taken = candidate.plan, candidate.milliseconds
        for _ in range(_LENGTHENED):
            if taken >= exact_ms:
                break
            shares = recalls(index, plan, asked, k)
            if shares.mean() >= target:
                return measured(plan, shares, taken)
            log.info("%s: recall %.3f on the queries held back, so it is not taken", plan, shares.mean())
            if (longer := _longer(plan, len(index))) is None:
                break
            plan, taken = longer, milliseconds(partial(index.shortlisted, k=k, plan=longer), asked.queries)
    log.info("no shorter search keeps recall %s faster than exact search, so the plan is exact search", target)
    return measured(Plan.exact(index.width), np.ones(len(asked.queries)), exact_ms)


def _longer(plan: Plan, rows: int) -> Plan | None:
    """The plan with shortlists a quarter longer; None if they hold half of the rows already."""
    *kept, last = plan.stages
    if not kept or (kept[0].keep or 0) * 2 > rows:
        return None
    longer = [stage.model_copy(update={"keep": min(rows, 1 + int(1.25 * (stage.keep or 0)))}) for stage in kept]
    if longer[0].structure == "hnsw":
        longer[0] = longer[0].model_copy(update={"effort": longer[0].keep})
    return Plan(stages=(*longer, last))


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
