"""Stored vectors as an encoder that mteb can evaluate, and the exact search over them: one encoder per view."""

import heapq
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from mteb.types import PromptType
from sentence_transformers import SimilarityFunction

from matryoshka_text.errors import EvaluationError, RecipeError
from matryoshka_text.evaluation.mteb_compat import (
    AbsEncoder,
    SearchEncoderWrapper,
    known_prompts,
    prepared,
    require_prompt_names,
)
from matryoshka_text.vectors.reader import TextReader
from matryoshka_text.vectors.views import Cut

__all__ = ["Hits", "StoredEncoder", "StoredSearch", "mteb_prompts", "require_prompts"]

# Similarities that mteb leaves to the model.
_DISTANCES = ("euclidean", "manhattan")


def mteb_prompts(prompts: dict[str, str] | None, given: Mapping[str, str] | None = None) -> dict[str, str] | None:
    """The model's prompts that mteb's rules know, by task, task type, query or document; None if there is none.

    `given` prompts take their place.
    """
    own = {**(prompts or {}), **(given or {})}
    if not any(own.values()):
        return None
    # Own sets are no tasks of mteb's list; the prompts given were checked against their names.
    return {**known_prompts(own), **(given or {})}


def require_prompts(given: Mapping[str, str], tasks: Sequence[str]) -> None:
    """`RecipeError` for a prompt that none of those tasks, no task of mteb, no task type and no role would get."""
    own = {f"{task}{role}" for task in tasks for role in ("", "-query", "-document")}
    try:
        require_prompt_names({key: text for key, text in given.items() if key not in own})
    except (KeyError, ValueError) as error:
        raise RecipeError(
            f"prompts: {str(error).splitlines()[0]}; allowed: query, document, a task type, a task's name, or "
            "<task>-query and <task>-document"
        ) from error


Hits = dict[str, dict[str, float]]


class StoredSearch(SearchEncoderWrapper):
    """Search for an encoder, the corpus encoded as one; reranking and larger corpora are left to mteb's own code."""

    task_corpus: Any

    def search(self, queries: Any, *, top_k: int, top_ranked: Any = None, **settings: Any) -> Hits:
        """The best `top_k` documents of each query and their scores, as mteb gives them."""
        corpus = self.task_corpus
        if top_ranked is not None or corpus is None or len(corpus) > self.corpus_chunk_size:
            found: Hits = super().search(queries, top_k=top_k, top_ranked=top_ranked, **settings)
            return found
        self.task_corpus = None
        asked = self.model.encode(**self.asked_for(queries, PromptType.query, settings))
        documents = self.model.encode(**self.asked_for(corpus, PromptType.document, settings))
        scores = torch.as_tensor(self.model.similarity(asked, documents))
        values, places = torch.topk(scores, min(top_k + 1, scores.shape[1]), dim=1, largest=True)
        names = np.array(list(corpus["id"]), dtype=object)
        return {
            query: _heaped(own.numpy(), names[rows.numpy()], top_k)
            for query, own, rows in zip(queries["id"], values.cpu(), places.cpu(), strict=True)
        }

    def asked_for(self, texts: Any, role: PromptType, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What `encode` is called with for a task's queries or documents; `settings` are mteb's for a search."""
        where = {name: settings[name] for name in ("task_metadata", "hf_split", "hf_subset")}
        encode_kwargs = settings["encode_kwargs"]
        loader = prepared(texts, where["task_metadata"], role, num_proc=settings.get("num_proc"), **encode_kwargs)
        return {"inputs": loader, **where, "prompt_type": role, **encode_kwargs}


class StoredEncoder(AbsEncoder, StoredSearch):
    """mteb's encoder protocol, and its search protocol, over stored vectors, cut for one view."""

    def __init__(
        self,
        reader: TextReader,
        meta: Any,
        *,
        cut: Cut,
        prompts: dict[str, str] | None = None,
    ) -> None:
        self.reader = reader
        self.mteb_model_meta = meta
        self.cut = cut
        self.model_prompts = prompts
        self._similarity = getattr(getattr(meta, "similarity_fn_name", None), "value", "cosine")
        super().__init__(self)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> Float32[np.ndarray, "n dim"]:
        """The prepared texts' vectors, cut. Batches, splits and settings of mteb's do not change a vector."""
        if "text" not in inputs.dataset.column_names:
            found = ", ".join(inputs.dataset.column_names)
            raise EvaluationError(f"{task_metadata.name}: its inputs are {found}; only text can be encoded")
        # Already prepared (title and text joined): preparing again gives "title title text".
        texts = list(inputs.dataset["text"][:])
        prompt = self.prompt_of(task_metadata, prompt_type)
        role = prompt_type.value if prompt_type else ""
        return self.cut.apply(self.reader.read(texts, role=role, prompt=prompt, dim=self.cut.reads))

    def prompt_of(self, task_metadata: Any, prompt_type: Any) -> str | None:
        """What the task's texts of that role are encoded with; None: what the model itself takes."""
        name = self.get_prompt_name(task_metadata, prompt_type)
        return self.model_prompts[name] if self.model_prompts and name else None

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The similarity of each vector to each of the others; by distance as sentence-transformers computes it."""
        if self._similarity in _DISTANCES:
            return SimilarityFunction.to_similarity_fn(self._similarity)(embeddings1, embeddings2)
        return super().similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The similarity of each vector to the one in the same place."""
        if self._similarity in _DISTANCES:
            return SimilarityFunction.to_similarity_pairwise_fn(self._similarity)(embeddings1, embeddings2)
        return super().similarity_pairwise(embeddings1, embeddings2)


def _heaped(scores: np.ndarray, names: np.ndarray, top_k: int) -> dict[str, float]:
    """Name and score of the best `top_k`, in the order of the heap that mteb keeps them in; `scores` fall."""
    if not (scores[1:] < scores[:-1]).all():
        return _by_heap(scores.tolist(), names.tolist(), top_k)
    order = _heap_order(min(top_k, len(scores)))
    return dict(zip(names[order].tolist(), scores[order].tolist(), strict=True))


def _by_heap(scores: Sequence[float], names: Sequence[str], top_k: int) -> dict[str, float]:
    heap: list[tuple[float, str]] = []
    for one in zip(scores, names, strict=True):
        if len(heap) < top_k:
            heapq.heappush(heap, one)
        else:
            heapq.heappushpop(heap, one)
    return {name: score for score, name in heap}


@cache
def _heap_order(size: int) -> Int64[np.ndarray, " size"]:
    """Which of `size` falling numbers stands where in a heap that they were pushed on one by one."""
    heap: list[tuple[int, int]] = []
    for place in range(size):
        heapq.heappush(heap, (-place, place))
    return np.array([place for _, place in heap], dtype=np.int64)
