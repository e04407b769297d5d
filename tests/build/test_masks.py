"""What a model's files say of its mask token and its decoder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

from matryoshka_text.build.masks import has_own_decoder, lacks_mask_token

WORDS = {"the": 0, "cat": 1}


def folder(path: Path, **files: Any) -> Path:
    for name, content in files.items():
        (path / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def whole(vocabulary: Any, *added: str) -> dict[str, Any]:
    return {
        "model": {"vocab": vocabulary},
        "added_tokens": [{"id": i, "content": text} for i, text in enumerate(added)],
    }


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"tokenizer_config": {"mask_token": "[MASK]"}, "tokenizer": whole(WORDS)},
        {"tokenizer_config": {"mask_token": {"content": "<m>"}}},
        {"tokenizer_config": {"mask_token": None}, "special_tokens_map": {"mask_token": "<m>"}},
        {"tokenizer_config": {}, "tokenizer": whole({**WORDS, "[MASK]": 2})},
        {"tokenizer_config": {}, "tokenizer": whole(WORDS, "[CLS]", "<mask>")},
        {"tokenizer_config": {}, "tokenizer": whole([["the", -1.0], ["<mask>", 0.0]])},
        {"tokenizer_config": {}},  # a vocab.txt, and a class with a mask token by default
        {"tokenizer_config": "{", "tokenizer": "{"},
    ],
)
def test_one_that_is_there_or_cannot_be_ruled_out(tmp_path: Path, files: dict[str, Any]) -> None:
    assert not lacks_mask_token(folder(tmp_path, **files))


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer_config": {"mask_token": None}},
        {"tokenizer_config": {}, "tokenizer": whole(WORDS, "[CLS]")},
        {"tokenizer": whole([["the", -1.0], ["mask", 0.0]])},
    ],
)
def test_one_that_is_surely_lacking(tmp_path: Path, files: dict[str, Any]) -> None:
    assert lacks_mask_token(folder(tmp_path, **files))


def test_the_answer_is_that_of_the_opened_tokenizer(
    family: Callable[[str], Path], tiny_model: Path, tmp_path: Path
) -> None:
    for base in (family("bert"), tiny_model):
        tokenizer = AutoTokenizer.from_pretrained(base)
        assert tokenizer.mask_token is not None
        assert not lacks_mask_token(base)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path / "without")
    assert (AutoTokenizer.from_pretrained(tmp_path / "without").mask_token is None) == lacks_mask_token(
        tmp_path / "without"
    )


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "distilbert", "modernbert", "electra", "deberta-v2"])
@pytest.mark.parametrize("tied", [None, True, False])
def test_a_decoder_of_its_own_is_that_of_the_opened_model(
    family: Callable[[str], Path], name: str, tied: bool | None
) -> None:
    config = json.loads((family(name) / "config.json").read_text())
    config = {key: value for key, value in config.items() if key != "tie_word_embeddings"}
    config |= {} if tied is None else {"tie_word_embeddings": tied}
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(**config))
    own = model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    assert has_own_decoder(config) == own == (tied is False)
