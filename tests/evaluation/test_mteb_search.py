"""The search against mteb's own wrapper: the same documents, scores and order, equal scores among them."""

from typing import Any

import datasets
import mteb
import numpy as np
import pytest
import torch
from mteb.models import ModelMeta
from mteb.models.search_wrappers import SearchEncoderWrapper

from matryoshka_text.evaluation.mteb_encoder import StoredSearch


class Encoder:
    """Vectors of small whole numbers (`coarse`: many equal scores) or of random ones, by text."""

    mteb_model_meta = ModelMeta.create_empty()

    def __init__(self, coarse: bool) -> None:
        self.coarse = coarse
        self.asked: list[tuple[str, str]] = []

    def encode(self, inputs: Any, *, prompt_type: Any, **settings: Any) -> np.ndarray:
        texts = [text for batch in inputs for text in batch["text"]]
        self.asked += [(prompt_type.value, text) for text in texts]
        rows = []
        for text in texts:
            rng = np.random.default_rng(abs(hash(text)) % 2**32)
            rows.append(rng.integers(-1, 2, 4) if self.coarse else rng.normal(size=4))
        return np.array(rows, dtype=np.float32)

    def similarity(self, left: np.ndarray, right: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(left @ right.T)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize(("documents", "top_k"), [(30, 1000), (30, 29), (30, 30), (30, 5), (30, 1), (1, 5)])
def test_hits_scores_and_order_are_mtebs(coarse: bool, documents: int, top_k: int) -> None:
    corpus = datasets.Dataset.from_list(
        [{"id": f"d{n:02}", "title": "", "text": f"document {n}"} for n in range(documents)]
    )
    queries = datasets.Dataset.from_list([{"id": f"q{n}", "text": f"query {n}"} for n in range(12)])
    where = {"task_metadata": mteb.get_task("SciFact").metadata, "hf_split": "test", "hf_subset": "default"}
    found, asked = [], []
    for wrapper in (StoredSearch, SearchEncoderWrapper):
        encoder = Encoder(coarse)
        search = wrapper(encoder)
        search.index(corpus, **where, encode_kwargs={})
        hits = search.search(queries, **where, top_k=top_k, encode_kwargs={"show_progress_bar": False})
        found.append({query: list(own.items()) for query, own in hits.items()})
        asked.append(sorted(encoder.asked))
    assert found[0] == found[1]
    assert asked[0] == asked[1]
    assert all(len(own) == min(top_k, documents) for own in found[0].values())


def test_larger_corpora_and_reranking_are_mtebs_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(SearchEncoderWrapper, "search", lambda self, queries, **settings: seen.append(settings))
    search = StoredSearch(Encoder(False), corpus_chunk_size=2)
    search.task_corpus = [1, 2, 3]
    search.search([], top_k=5)
    search.corpus_chunk_size = 10
    search.search([], top_k=5, top_ranked={"q": ["d"]})
    assert [settings["top_ranked"] for settings in seen] == [None, {"q": ["d"]}]
