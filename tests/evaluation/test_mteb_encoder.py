"""What mteb asks of an encoder reaches the reader."""

from types import SimpleNamespace
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.types import PromptType

from matryoshka_text.errors import EvaluationError, RecipeError
from matryoshka_text.evaluation.mteb_encoder import StoredEncoder, mteb_prompts, require_prompts
from matryoshka_text.vectors.views import Cut


class Reader:
    def __init__(self) -> None:
        self.asked: list[tuple[list[str], dict[str, Any]]] = []

    def read(self, texts: list[str], **settings: Any) -> np.ndarray:
        self.asked.append((texts, settings))
        return np.zeros((len(texts), settings["dim"]), dtype=np.float32)


def loader(**columns: list[str]) -> Any:
    import datasets

    return SimpleNamespace(dataset=datasets.Dataset.from_dict(columns))


def encode(prompts: dict[str, str] | None, inputs: Any, prompt_type: PromptType | None) -> dict[str, Any]:
    reader = Reader()
    adapter = StoredEncoder(reader, None, cut=Cut(3, lambda vectors: vectors + 1), prompts=prompts)  # type: ignore[arg-type]
    metadata = mteb.get_task("SciFact").metadata
    found = adapter.encode(
        inputs, task_metadata=metadata, hf_split="test", hf_subset="default", prompt_type=prompt_type
    )
    np.testing.assert_array_equal(found, np.ones((len(reader.asked[0][0]), 3)))
    return {"texts": reader.asked[0][0], **reader.asked[0][1]}


def test_prepared_texts_are_taken_as_they_are() -> None:
    asked = encode(None, loader(text=["title text"], title=["title"]), PromptType.document)
    assert asked == {"texts": ["title text"], "role": "document", "prompt": None, "dim": 3}


def test_the_models_prompts_are_chosen_as_mteb_chooses() -> None:
    prompts = mteb_prompts({"query": "q: ", "document": "", "SciFact-query": "s: "})
    assert encode(prompts, loader(text=["a"]), PromptType.query)["prompt"] == "s: "
    assert encode(prompts, loader(text=["a"]), PromptType.document)["prompt"] == ""
    assert encode(prompts, loader(text=["a"]), None)["prompt"] is None
    assert encode(prompts, loader(text=["a"]), None)["role"] == ""


def test_empty_prompts_are_none() -> None:
    assert mteb_prompts({"query": "", "document": ""}) is None
    assert mteb_prompts(None) is None


def test_only_text_is_encoded() -> None:
    with pytest.raises(EvaluationError, match="SciFact: its inputs are image; only text"):
        encode(None, loader(image=["x"]), None)


def test_given_prompts_take_the_place_of_the_models() -> None:
    prompts = mteb_prompts({"query": "q: ", "document": "d: "}, {"query": "ask: "})
    assert encode(prompts, loader(text=["a"]), PromptType.query)["prompt"] == "ask: "
    assert encode(prompts, loader(text=["a"]), PromptType.document)["prompt"] == "d: "


def test_prompts_for_own_sets_are_kept() -> None:
    prompts = mteb_prompts(None, {"pets": "p: ", "query": "q: "})
    assert prompts == {"pets": "p: ", "query": "q: "}


def test_a_prompt_for_nothing_is_a_mistake() -> None:
    require_prompts({"pets-query": "q: ", "STS": "s: ", "STSBenchmark": "b: ", "document": "d: "}, ["pets"])
    with pytest.raises(RecipeError, match=r"prompts: .*querry.*; allowed: query, document, a task type, a task's name"):
        require_prompts({"querry": "q: "}, ["pets"])
