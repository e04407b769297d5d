"""What `mtext check` tells of a model's files without torch, each as opening would find it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from matryoshka_text.encoder import resolve_model
from matryoshka_text.encoder.folder import ModelFolder, read_folder
from matryoshka_text.errors import ModelError


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "m")


def read(model: Path) -> ModelFolder:
    return read_folder(resolve_model(str(model), local_only=True))


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("config.json", "hidden_act", "gelo", r"hidden_act: found 'gelo'; allowed: gelu, "),
        ("config.json", "hidden_size", None, r"286 words of width 768"),
        ("config.json", "vocab_size", None, r"30522 words of width 32"),
        ("config.json", "num_hidden_layers", None, r"num_hidden_layers: found 12, but .* no weights of 10 layers"),
        (
            "config.json",
            "max_position_embeddings",
            99,
            r"\[128, 32\] of .*position_emb.*; allowed: \[99, 32\]",
        ),
        ("config.json", "intermediate_size", None, r"found the shape \[64\] of .*; allowed: \[3072\]"),
        ("1_Pooling/config.json", "pooling_mode", "average", r"pooling_mode: found 'average'; allowed: 'cls', 'max'"),
        ("1_Pooling/config.json", "embedding_dimension", None, r"embedding_dimension, the width of the token states"),
        ("config_sentence_transformers.json", "default_prompt_name", "x", r"a default_prompt_name of its prompts: doc"),
        (
            "config_sentence_transformers.json",
            "__version__",
            {"sentence_transformers": "[["},
            r"Invalid version: '\[\['",
        ),
        ("sentence_bert_config.json", "module_output_name", None, r"module_output_name next to modality_config"),
        ("tokenizer_config.json", "mask_token", "[OTHER]", r"found the token id 286, but .* has 286 rows"),
    ],
)
def test_settings_that_no_library_takes(model: Path, name: str, key: str, value: object, words: str) -> None:
    found = json.loads((model / name).read_text())
    found |= {key: value}
    (model / name).write_text(json.dumps({one: what for one, what in found.items() if what is not None}))
    with pytest.raises(ModelError, match=words):
        read(model)


def test_a_mark_of_byte_order_which_the_libraries_do_not_read(model: Path) -> None:
    file = model / "1_Pooling" / "config.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    with pytest.raises(ModelError, match="UTF-8 BOM"):
        read(model)


def one_layer_wider(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {"encoder.layer.1.attention.self.key.bias": torch.zeros(33)}


def one_number(value: float, dtype: torch.dtype) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        name = "embeddings.word_embeddings.weight"
        changed = tensors[name].to(dtype)
        changed[200, 7] = value
        return tensors | {name: changed}

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (one_layer_wider, r"found the shape \[33\] of encoder.layer.1.attention.self.key.bias; allowed: \[32\]"),
        (one_number(float("nan"), torch.float32), "embeddings.word_embeddings.weight: found NaN or infinite numbers"),
        (one_number(float("-inf"), torch.float16), "found NaN or infinite"),
        (one_number(float("nan"), torch.bfloat16), "found NaN or infinite"),
        (one_number(float("inf"), torch.float64), "found NaN or infinite"),
    ],
)
def test_weights_that_make_no_vectors(model: Path, change: Any, words: str) -> None:
    save_file(change(load_file(model / "model.safetensors")), model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=words):
        read(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_largest_numbers_are_finite(model: Path, dtype: torch.dtype) -> None:
    change = one_number(torch.finfo(dtype).max, dtype)
    save_file(change(load_file(model / "model.safetensors")), model / "model.safetensors", metadata={"format": "pt"})
    assert read(model).width == 32
