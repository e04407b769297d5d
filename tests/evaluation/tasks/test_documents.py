"""Documents alone, as mteb encodes them."""

from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from mteb.types import PromptType

from matryoshka_text.evaluation.tasks.loaded import document_role, documents_of


def clustering(data: dict[str, Any], subsets: tuple[str, ...] = ("default",), column: str = "sentences") -> Any:
    return SimpleNamespace(
        metadata=SimpleNamespace(name="t"),
        hf_subsets=list(subsets),
        eval_splits=["test"],
        input_column_name=column,
        dataset=data,
    )


def test_texts_to_cluster_each_once_and_no_label() -> None:
    rows = Dataset.from_dict({"sentences": ["a", "b", "a"], "labels": ["x", "y", "z"]})
    task = clustering({"test": rows, "train": Dataset.from_dict({"sentences": ["c"], "labels": ["x"]})})
    found = documents_of(task, seed=0)
    assert found.texts == ("a", "b") and found.origin == "the documents of t"
    assert document_role(task) is None


def test_the_older_sets_of_texts_and_several_subsets() -> None:
    rows = Dataset.from_dict({"text": [["a", "b"], ["c"]], "labels": [["x", "y"], ["z"]]})
    more = Dataset.from_dict({"text": [["d", "a"]], "labels": [["x", "y"]]})
    task = clustering({"en": {"test": rows}, "de": {"test": more}}, ("en", "de"), "text")
    assert documents_of(task, seed=0).texts == ("a", "b", "c", "d")


def test_of_too_many_some_are_drawn_by_the_seed() -> None:
    task = clustering({"test": Dataset.from_dict({"sentences": [str(n) for n in range(100)], "labels": [0] * 100})})
    drawn = [documents_of(task, seed=seed, most=10) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0].texts)) == 10


def test_a_corpus_has_titles_joined_and_no_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Dataset.from_dict({"id": ["1", "2"], "title": ["A title", ""], "text": ["and a text", "alone"]})
    queries = Dataset.from_dict({"id": ["q"], "text": ["a query"]})
    part = {"corpus": corpus, "queries": queries, "relevant_docs": {"q": {"1": 1}}, "top_ranked": None}

    class Finding(AbsTaskRetrieval):  # type: ignore[misc]
        def __init__(self) -> None:
            self.dataset = {"default": {"test": part}}

        metadata = SimpleNamespace(name="t", modalities=["text"], get_modalities=lambda role: ["text"])
        hf_subsets = ("default",)
        eval_splits = ("test",)

    found = documents_of(Finding(), seed=0)
    assert found.texts == ("A title and a text", "alone")
    assert document_role(Finding()) is PromptType.document
