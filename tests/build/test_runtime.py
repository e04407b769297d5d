import json
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matryoshka_text.build.runtime import Runtime
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import RecipeError

TEXTS = ["the cat is sleeping", "money transfer to my bank account"]


def test_another_attention_gives_the_same_vectors_and_is_not_saved(tiny_model: Path, tmp_path: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    before = encoder.encode(TEXTS)
    Runtime(attention="eager").apply(encoder)
    assert encoder.config._attn_implementation == "eager"
    np.testing.assert_allclose(encoder.encode(TEXTS), before, atol=1e-6)
    encoder.save(str(tmp_path / "model"))
    assert "eager" not in (tmp_path / "model" / "config.json").read_text()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "bert"


def test_an_attention_that_is_not_there_is_told(tiny_model: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    expected = r"--attention: found 'nonsense', which BertModel cannot use.*allowed: what it has"
    with pytest.raises(RecipeError, match=expected):
        Runtime(attention="nonsense").apply(encoder)


def test_an_attention_that_the_model_would_not_take_up_is_told(family: Any) -> None:
    encoder = MatryoshkaEncoder(family("mpnet"), device="cpu")
    with pytest.raises(RecipeError, match=r"--attention: found 'flash_attention_2', but MPNetModel has '\w+' alone"):
        Runtime(attention="flash_attention_2").apply(encoder)


def test_an_attention_that_cannot_train_is_told_before_the_first_step(tiny_model: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    runtime = Runtime(attention="flex_attention")
    runtime.apply(encoder)
    state = torch.get_rng_state()
    with pytest.raises(RecipeError, match=r"'flex_attention', with which BertModel cannot be trained in float32"):
        runtime.require_works(encoder, bf16=False)
    assert torch.equal(torch.get_rng_state(), state)
    sdpa = Runtime(attention="sdpa")
    sdpa.apply(encoder)
    sdpa.require_works(encoder, bf16=False)
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None or not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file(),
    reason="torch.compile needs a C++ compiler and Python's headers on a CPU",
)
def test_a_compiled_encoder_gives_the_same_vectors_under_the_same_names(tiny_model: Path, tmp_path: Path) -> None:
    encoder: Any = MatryoshkaEncoder(tiny_model, device="cpu")
    before, names = encoder.encode(TEXTS), [name for name, _ in encoder.named_parameters()]
    Runtime(compile=True).apply(encoder)
    calls = torch._dynamo.utils.counters["frames"]["ok"]
    np.testing.assert_allclose(encoder.encode(TEXTS), before, atol=1e-6)
    assert torch._dynamo.utils.counters["frames"]["ok"] > calls
    assert [name for name, _ in encoder.named_parameters()] == names
    encoder.save(str(tmp_path / "model"))
    np.testing.assert_allclose(MatryoshkaEncoder(tmp_path / "model", device="cpu").encode(TEXTS), before, atol=1e-6)
