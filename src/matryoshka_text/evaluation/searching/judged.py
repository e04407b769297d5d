"""One subset of a retrieval task with its vectors and judgements, and what a list of documents is worth."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pytrec_eval
from jaxtyping import Float32, Int64
from mteb.types import PromptType

from matryoshka_text.evaluation.mteb_compat import judged_queries
from matryoshka_text.evaluation.mteb_encoder import Hits, StoredEncoder

__all__ = ["Judged", "Quality", "best", "quality"]

Judgements = Mapping[str, Mapping[str, int]]


class Quality(NamedTuple):
    """Shares of 1: nDCG@k; the paper's mAP@k; how often the first document is relevant."""

    ndcg: float
    map: float
    top1: float


@dataclass(frozen=True)
class Judged:
    """Queries that have judgements, and the documents, as mteb gives both to a model."""

    task: Any
    split: str
    subset: str
    queries: Any
    corpus: Any
    judgements: Judgements

    @classmethod
    def of(cls, task: Any, split: str, subset: str) -> "Judged":
        """That part of a loaded task."""
        data = task.dataset[subset][split]
        judgements, queries = judged_queries(data["relevant_docs"], data["queries"])
        return cls(task, split, subset, queries=queries, corpus=data["corpus"], judgements=judgements)

    @property
    def query_ids(self) -> list[str]:
        """The name of each query."""
        return list(self.queries["id"])

    @property
    def document_ids(self) -> np.ndarray:
        """The name of each document."""
        return np.array(list(self.corpus["id"]), dtype=object)

    def vectors(self, encoder: StoredEncoder) -> tuple[Float32[np.ndarray, "q width"], Float32[np.ndarray, "n width"]]:
        """Of the queries and of the documents."""
        queries = encoder.model.encode(**encoder.asked_for(self.queries, PromptType.query, self._where))
        documents = encoder.model.encode(**encoder.asked_for(self.corpus, PromptType.document, self._where))
        return np.asarray(queries), np.asarray(documents)

    def hits(self, encoder: StoredEncoder) -> Hits:
        """The documents that the evaluation's own search finds, and their scores."""
        encoder.index(self.corpus, **self._where)
        hits: Hits = encoder.search(self.queries, top_k=max(self.task.k_values), **self._where)
        return hits

    def named(self, rows: Int64[np.ndarray, "q k"], scores: Float32[np.ndarray, "q k"]) -> Hits:
        """Row numbers and scores as names and scores; -1 is no document."""
        names = self.document_ids
        lines = zip(self.query_ids, rows, scores, strict=True)
        return {
            query: dict(zip(names[row[row >= 0]].tolist(), own[row >= 0].tolist(), strict=True))
            for query, row, own in lines
        }

    def scored(self, hits: Hits) -> Hits:
        """What counts of them: without the document that is the query itself, if the task leaves it out."""
        if not self.task.ignore_identical_ids:
            return hits
        return {query: {name: score for name, score in own.items() if name != query} for query, own in hits.items()}

    @property
    def _where(self) -> dict[str, Any]:
        place = {"task_metadata": self.task.metadata, "hf_split": self.split, "hf_subset": self.subset}
        return {**place, "encode_kwargs": {"show_progress_bar": False}}


def quality(hits: Hits, judgements: Judgements, k: int) -> Quality:
    """The means over all judged queries; nDCG as mteb has it computed."""
    found = pytrec_eval.RelevanceEvaluator(judgements, {f"ndcg_cut.{k}"}).evaluate(hits)
    relevant = [[judgements[query].get(name, 0) > 0 for name in best(hits.get(query, {}), k)] for query in judgements]
    return Quality(
        fmean(found.get(query, {}).get(f"ndcg_cut_{k}", 0.0) for query in judgements),
        fmean(_average_precision(line, k) for line in relevant),
        fmean(bool(line and line[0]) for line in relevant),
    )


def best(scores: Mapping[str, float], k: int) -> list[str]:
    """The names of the best `k`, equal scores by name downwards, as trec_eval orders them."""
    return sorted(scores, key=lambda name: (scores[name], name), reverse=True)[:k]


def _average_precision(relevant: list[bool], k: int) -> float:
    """sum_{i<=k} P(i) rel(i) / k: divided by k, not by the number of relevant documents."""
    hits = [place for place, one in enumerate(relevant, start=1) if one]
    return sum(number / place for number, place in enumerate(hits, start=1)) / k
