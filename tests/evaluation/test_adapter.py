"""What mteb asks of an encoder reaches the reader."""

from types import SimpleNamespace
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.types import PromptType

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.adapter import StoredEncoder, mteb_prompts


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
    adapter = StoredEncoder(reader, None, dim=3, normalize=True, prompts=prompts)  # type: ignore[arg-type]
    metadata = mteb.get_task("SciFact").metadata
    found = adapter.encode(
        inputs, task_metadata=metadata, hf_split="test", hf_subset="default", prompt_type=prompt_type
    )
    assert found.shape == (len(reader.asked[0][0]), 3)
    return {"texts": reader.asked[0][0], **reader.asked[0][1]}


def test_prepared_texts_are_taken_as_they_are() -> None:
    asked = encode(None, loader(text=["title text"], title=["title"]), PromptType.document)
    assert asked == {"texts": ["title text"], "role": "document", "prompt": None, "dim": 3, "normalize": True}


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
