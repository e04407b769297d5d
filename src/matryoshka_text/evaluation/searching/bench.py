"""A task's documents as an index, and what one way of searching them gives and costs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from threadpoolctl import threadpool_limits

from matryoshka_text.evaluation.mteb_encoder import Hits, StoredEncoder
from matryoshka_text.evaluation.searching.contenders import RECALL, Contender, K
from matryoshka_text.evaluation.searching.judged import Judged, Quality, best, quality
from matryoshka_text.evaluation.searching.rows import Lists
from matryoshka_text.rotation import Rotation
from matryoshka_text.search import Plan, PrefixIndex, Stage
from matryoshka_text.search.lists import CoarseLists
from matryoshka_text.search.structures import Key, faiss
from matryoshka_text.search.tuning import milliseconds
from matryoshka_text.vectors.views import bytes_per_vector

__all__ = ["Bench", "Seen"]

# Cosines closer than this are taken for equal: duplicates come out of different products.
_EQUAL = 1e-6
_FEWEST_QUERIES = 20
# More than K are looked for where quality is measured: some have equal scores, and a task may leave the query out.
_FOUND, _SCORED = 2 * K, 10 * K


class Seen(NamedTuple):
    """What came out: shares of 1, and the cost of one query in one thread."""

    quality: Quality
    recall: float
    mflops: float | None
    bytes_read: int
    milliseconds: float
    plan: Plan | None = None
    lists: Lists | None = None
    note: str = ""


class Bench:
    """The documents and queries of one part of a task, by `whole`'s vectors, turned by `rotation` if there is one.

    `encoder_of` gives the evaluation's own encoder at a dim: single shots are what it scores.
    """

    def __init__(
        self,
        judged: Judged,
        *,
        whole: StoredEncoder,
        encoder_of: Callable[[int], StoredEncoder],
        dims: Sequence[int],
        rotation: Rotation | None,
        seed: int,
    ) -> None:
        self.judged, self.whole, self.encoder_of, self.seed = judged, whole, encoder_of, seed
        self._given, documents = judged.vectors(whole)
        fitting = [dim for dim in dims if dim > 1]
        self.index = PrefixIndex.build(documents, dims=fitting, rotate=rotation or False, normalize=True, seed=seed)
        self.queries = self.index.turned(self._given)
        self._lists: dict[int, CoarseLists] = {}

    def see(self, contender: Contender) -> Seen:
        """One way of searching: its quality over all judged queries, its recall and its cost."""
        if contender.kind == "single":
            return self._single(contender.dim)
        if contender.probes is not None:
            return self._listed(contender.dim, contender.probes)
        return self._planned(contender.plan) if contender.plan is not None else self._tuned()

    def _single(self, dim: int) -> Seen:
        hits = self.judged.hits(self.encoder_of(dim))
        plan, key = Plan(stages=(Stage(dim=dim),)), Key(dim, "flat", "float32")
        search: Callable[..., object] = partial(self.index.shortlisted, k=K, plan=plan)
        if dim < self.index.width:
            # A plan orders what it found anew at full width; a single shot does not.
            search = partial(self.index.structure(key).search, keep=K)
        seen = self._seen(hits, search, plan)
        self.index.forget(key)
        return seen._replace(plan=None)

    def _planned(self, plan: Plan, note: str = "") -> Seen:
        kept = min((stage.keep for stage in plan.stages if stage.keep is not None), default=len(self.index))
        found = self.index.shortlisted(self.queries, min(_FOUND, kept), plan)
        hits = self._ordered(found.rows, found.scores)
        seen = self._seen(hits, partial(self.index.shortlisted, k=K, plan=plan), plan)
        self.index.forget(Key.of(plan.stages[0]))
        return seen._replace(note=note)

    def _tuned(self) -> Seen:
        asked = len(self._given) >= _FEWEST_QUERIES
        note = f"tuned on half of {len(self._given):,} queries" if asked else "tuned on documents in place of queries"
        with one_thread():
            plan = self.index.tune(self._given if asked else None, k=K, recall=RECALL, seed=self.seed).plan
        return self._planned(plan, note)

    def _listed(self, coarse: int, probes: int) -> Seen:
        width = self.index.width
        if coarse not in self._lists:
            self._lists = {coarse: CoarseLists(self.index.corpus, coarse, width, seed=self.seed)}
        lists = self._lists[coarse]
        found = lists.search(self.queries, _FOUND, probes)
        scores = np.stack([self._cosines(query, line) for query, line in zip(self.queries, found, strict=True)])
        search = partial(lists.search, keep=K, probes=probes)
        seen = self._seen(self._ordered(found, scores), search, None)
        read = lists.read(self.queries, probes)
        return seen._replace(
            mflops=(lists.count * coarse + read * width) / 1e6,
            bytes_read=round(
                lists.count * bytes_per_vector(coarse, "float32") + read * bytes_per_vector(width, "float32")
            ),
            lists=Lists(coarse=coarse, fine=width, count=lists.count, probes=probes, read=read),
        )

    def _ordered(self, rows: Int64[np.ndarray, "q n"], scores: Float32[np.ndarray, "q n"]) -> Hits:
        """The documents found, with the scores that the evaluation gives them at full width.

        Equal documents get scores that differ in their last bits from another product, and their order would be chance.
        """
        found = self.judged.named(rows, scores)
        return {
            query: {name: self._whole[query].get(name, score) for name, score in own.items()}
            for query, own in found.items()
        }

    def _seen(self, hits: Hits, search: Callable[..., object], plan: Plan | None) -> Seen:
        flops = plan.flops(len(self.index)) if plan else None
        read = plan.bytes_read(len(self.index)) if plan else None
        with one_thread():
            taken = milliseconds(search, self.queries)
        return Seen(
            quality=quality(self.judged.scored(hits), self.judged.judgements, K),
            recall=self._recall(hits),
            mflops=None if flops is None else flops / 1e6,
            bytes_read=read or 0,
            milliseconds=taken,
            plan=plan,
        )

    def _recall(self, hits: Hits) -> float:
        """Of the exact top k at full width, the share found; a document of equal score counts as well."""
        k = min(K, len(self.index))
        shares = []
        for name, query, least in zip(self.judged.query_ids, self.queries, self._exact[:, k - 1] - _EQUAL, strict=True):
            rows = np.array([self._row_of[one] for one in best(hits[name], K)], dtype=np.int64)
            shares.append(int((self._cosines(query, rows) >= least).sum()) / k)
        return float(np.mean(shares))

    def _cosines(self, query: Float32[np.ndarray, " width"], rows: Int64[np.ndarray, " n"]) -> np.ndarray:
        """At full width; -infinity where there is no row."""
        there = np.maximum(rows, 0)
        return np.where(rows >= 0, self.index.corpus.gather(there, self.index.width) @ query, -np.inf)

    @cached_property
    def _exact(self) -> Float32[np.ndarray, "q k"]:
        return self.index.shortlisted(self.queries, K, Plan.exact(self.index.width)).scores

    @cached_property
    def _whole(self) -> Hits:
        """What the evaluation finds first at full width, and its scores."""
        hits = self.judged.hits(self.whole)
        return {query: {name: own[name] for name in best(own, _SCORED)} for query, own in hits.items()}

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.judged.document_ids)}


@contextmanager
def one_thread() -> Iterator[None]:
    """A stretch in which FAISS and numpy use one thread."""
    before = faiss().omp_get_max_threads()
    with threadpool_limits(limits=1):
        faiss().omp_set_num_threads(1)
        try:
            yield
        finally:
            faiss().omp_set_num_threads(before)
