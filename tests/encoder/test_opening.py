import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.compat import SentenceTransformer, Transformer
from matryoshka_text.errors import ModelError


def _without(model: Path, to: Path, part: str, renamed: dict[str, str] | None = None) -> Path:
    shutil.copytree(model, to)
    kept = {k: v for k, v in load_file(model / "model.safetensors").items() if part not in k}
    for old, new in (renamed or {}).items():
        kept = {k.replace(old, new): v for k, v in kept.items()}
    save_file(kept, to / "model.safetensors", metadata={"format": "pt"})
    return to


def test_missing_layers_are_named(tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "matryoshka_text"):
        MatryoshkaEncoder(_without(tiny_model, tmp_path / "cut", "layer.1.attention"), device="cpu")
    assert "the checkpoint lacks 10 weights, which start at random: encoder.layer.1.attention" in caplog.text


@pytest.mark.parametrize("renamed", [{}, {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}])
def test_a_missing_pooler_and_old_names_are_no_news(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, renamed: dict[str, str]
) -> None:
    with caplog.at_level(logging.WARNING, "matryoshka_text"):
        MatryoshkaEncoder(_without(tiny_model, tmp_path / "m", "pooler", renamed), device="cpu")
        MatryoshkaEncoder(tiny_model, device="cpu")
    assert "lacks" not in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        TypeError("__init__() got an unexpected keyword argument 'dtype'"),
        AttributeError("'NoneType' object has no attribute 'config'"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_a_bug_and_lack_of_memory_are_no_fault_of_the_model(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, plain: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Transformer if plain else SentenceTransformer, "__init__", fail)
    model = tiny_model.parent / "bert" if plain else tiny_model
    with pytest.raises(type(error)) as raised:
        MatryoshkaEncoder(model, device="cpu")
    assert raised.value is error
    assert error.__notes__[-1:] == [f"while the model {model} was opened"]


def test_an_argument_that_is_not_known_is_the_callers_fault(tiny_model: Path) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        MatryoshkaEncoder(tiny_model, device="cpu", nonsense=1)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {"hidden_size": "wide"}, "hidden_size"),
        ("config.json", {"num_attention_heads": 0}, "ZeroDivisionError"),
        ("config.json", {"hidden_size": 64}, "mismatch"),
        ("modules.json", [1], "modules.json: found '\\[1\\]'; allowed: a list of mappings"),
        ("modules.json", {}, "allowed: a list of mappings"),
        ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Novel"}], "Novel"),
        ("tokenizer_config.json", [], "tokenizer_config.json: found '\\[\\]'; allowed: a mapping"),
        ("config_sentence_transformers.json", [], "allowed: a mapping"),
        ("1_Pooling/config.json", [], "allowed: a mapping"),
    ],
)
def test_a_damaged_setting_is_a_fault_of_the_model(
    tiny_model: Path, tmp_path: Path, file: str, content: object, message: str
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "damaged")
    if isinstance(content, dict) and file == "config.json":
        content = json.loads((model / file).read_text()) | content
    (model / file).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=rf"damaged: cannot be opened: .*{message}"):
        MatryoshkaEncoder(model, device="cpu")


def test_other_files_next_to_a_model_are_left_alone(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "whole")
    (model / "data_config.json").write_text('[{"name": "reddit", "lines": 1}]')
    (model / "notes.json").write_text("no JSON")
    (model / "1_Pooling/notes.json").write_text("[")
    assert MatryoshkaEncoder(model, device="cpu").width == MatryoshkaEncoder(tiny_model, device="cpu").width


def test_a_setting_of_a_newer_release_is_a_fault_of_the_model(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "newer")
    config = model / "1_Pooling/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"of_tomorrow": 1}))
    with pytest.raises(ModelError, match=r"newer: cannot be opened: TypeError: .*of_tomorrow"):
        MatryoshkaEncoder(model, device="cpu")
