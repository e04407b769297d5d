import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
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
        (
            "config.json",
            {"num_attention_heads": 0},
            "num_attention_heads: found 0; allowed: greater than",
        ),
        ("config.json", {"hidden_size": 64}, "mismatch"),
        ("modules.json", [1], "modules.json: \\[0\\]: found 1; allowed: a mapping"),
        ("modules.json", {}, "allowed: a list"),
        ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Novel"}], "Novel"),
        ("tokenizer_config.json", [], "tokenizer_config.json: found \\[\\]; allowed: a mapping"),
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
    with pytest.raises(ModelError, match=r"newer: cannot be opened: .*of_tomorrow: found an unknown key"):
        MatryoshkaEncoder(model, device="cpu")


def _changed(model: Path, to: Path, file: str, change: dict[str, object]) -> Path:
    shutil.copytree(model, to)
    before = json.loads((to / file).read_text()) if (to / file).is_file() else {}
    (to / file).write_text(json.dumps(before | change))
    return to


@pytest.mark.parametrize(
    ("listed", "dims", "dropped"),
    [
        ([32, 16, 8], (8, 16, 32), None),
        (["8", "16"], (8, 16), None),
        (True, (32,), "true left out"),
        ([8, 64, 0, "wide", True], (8,), "64, 0, 'wide', true left out"),
        ({"a": 1}, (32,), "left out: no whole number from 1 to 32"),
    ],
)
def test_dims_of_others_are_read_leniently(
    tiny_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    listed: object,
    dims: object,
    dropped: object,
) -> None:
    model = _changed(tiny_model, tmp_path / "m", "config.json", {"matryoshka_dimensions": listed})
    with caplog.at_level(logging.WARNING, "matryoshka_text"):
        assert MatryoshkaEncoder(model, device="cpu").dims == dims
    assert str(dropped or "") in caplog.text and bool(dropped) == bool(caplog.text)


def test_texts_are_cut_where_the_positions_end(family: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = MatryoshkaEncoder(
        _changed(family("roberta"), tmp_path / "m", "tokenizer_config.json", {"model_max_length": 10**30}), device="cpu"
    )
    assert encoder.max_seq_length == 129  # 130 positions, one of which no token gets
    long = "the cat " * 400
    assert encoder.encode(long).shape == (32,)
    encoder.save(str(tmp_path / "saved"))
    assert SentenceTransformer(str(tmp_path / "saved"), device="cpu").max_seq_length == 129


def test_added_tokens_need_rows(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = shutil.copytree(tiny_model, tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["novelword"])
    tokenizer.save_pretrained(model)
    with pytest.raises(
        ModelError, match=r"token id \d+, but the vocabulary matrix has \d+ rows.*resize_token_embeddings"
    ):
        MatryoshkaEncoder(model, device="cpu")


def test_a_tokenizer_needs_a_padding_token(tiny_model: Path, tmp_path: Path) -> None:
    model = _changed(tiny_model, tmp_path / "m", "tokenizer_config.json", {"pad_token": None})
    with pytest.raises(ModelError, match=r"its tokenizer has no padding token.*set tokenizer.pad_token"):
        MatryoshkaEncoder(model, device="cpu")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("encoder.layer.", r"num_hidden_layers: found 2, but .* holds no weights of 2 layers \(0, 1, counted from 0\)"),
        ("encoder.layer.1.", "holds no weights of layer 1; allowed: a model with all its layers"),
        ("word_embeddings", r"found no vocabulary matrix; allowed: a model with all its weights"),
    ],
)
def test_a_model_without_layers_or_matrix_is_refused(tiny_model: Path, tmp_path: Path, part: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        MatryoshkaEncoder(_without(tiny_model, tmp_path / "cut", part), device="cpu")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "config.json",
            {"num_hidden_layers": 10**9},
            "num_hidden_layers: found 1000000000; allowed: less than or equal",
        ),
        ("config.json", {"vocab_size": 10**9}, "vocab_size: found 1000000000"),
        ("config.json", {"hidden_size": 2**40}, "hidden_size: found 1099511627776"),
        ("config.json", {"pad_token_id": 10**6}, "pad_token_id: found 1000000; allowed: 0 to"),
        ("sentence_bert_config.json", {"max_seq_length": -3}, "max_seq_length: found -3; allowed: greater than"),
        ("config_sentence_transformers.json", {"prompts": {"query": 5}}, "prompts.query: found 5; allowed: text"),
        ("config_sentence_transformers.json", {"prompts": 5}, "prompts: found 5; allowed: a mapping"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": "x"},
            "pooling_mode_mean_tokens: found 'x'; allowed: true",
        ),
        ("tokenizer_config.json", {"padding_side": "up"}, "padding_side: found 'up'; allowed: 'left' or 'right'"),
    ],
)
def test_values_of_no_encoder_are_refused_before_anything_is_made(
    tiny_model: Path, tmp_path: Path, file: str, change: dict[str, object], message: str
) -> None:
    model = _changed(tiny_model, tmp_path / "m", file, change)
    with pytest.raises(ModelError, match=rf"m: cannot be opened: .*{file}: {message}"):
        MatryoshkaEncoder(model, device="cpu")


@pytest.mark.parametrize("kept", [["Transformer", "Normalize"], ["Pooling"], []])
def test_a_model_has_a_transformer_and_a_pooling(tiny_model: Path, tmp_path: Path, kept: list[str]) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "m")
    listed = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(json.dumps([one for one in listed if one["type"].rpartition(".")[2] in kept]))
    with pytest.raises(ModelError, match=r"modules.json: found the modules .*; allowed: a model that (pools|begins)"):
        MatryoshkaEncoder(model, device="cpu")


@pytest.mark.parametrize("broken", ["[" * 100_000, "", "{", "\xff", '{"x": 1e999999'])
def test_json_that_cannot_be_read(tiny_model: Path, tmp_path: Path, broken: str) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "m")
    (model / "config.json").write_bytes(broken.encode("latin-1"))
    with pytest.raises(ModelError, match=r"config.json: found .*; allowed: JSON; mend the file"):
        MatryoshkaEncoder(model, device="cpu")


@pytest.mark.parametrize("what", ["folder", "loop", "pipe", "nothing", "cut", "header"])
@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_what_is_no_file(tiny_model: Path, tmp_path: Path, file: str, what: str) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "m")
    place, before = model / file, (model / file).read_bytes()
    place.unlink()
    if what == "folder":
        place.mkdir()
    elif what == "loop":
        place.symlink_to(place.name)
    elif what == "pipe":
        os.mkfifo(place)
    else:
        place.write_bytes({"nothing": b"", "cut": before[:20], "header": (2**62).to_bytes(8, "little")}[what])
    with pytest.raises(ModelError, match="m: cannot be opened: "):
        MatryoshkaEncoder(model, device="cpu")


def test_an_old_layout_is_opened_as_plain_sentence_transformers_does(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "old")
    (model / "0_Transformer").mkdir()
    for file in [*model.glob("*.json"), *model.glob("*.safetensors")]:
        if file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(model / "0_Transformer" / file.name)
    (model / "config.json").write_text('{"__version__": "0.2.5"}')
    listed = json.loads((model / "modules.json").read_text())
    listed[0]["path"] = "0_Transformer"
    (model / "modules.json").write_text(json.dumps(listed))
    plain = SentenceTransformer(str(model), device="cpu").encode(["a cat"])
    for _ in range(2):
        assert np.array_equal(MatryoshkaEncoder(model, device="cpu").encode(["a cat"]), plain)
        (model / "config.json").unlink(missing_ok=True)


def test_numbers_that_are_not_finite_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "m")
    weights = load_file(model / "model.safetensors")
    weights["embeddings.LayerNorm.weight"].fill_(float("nan"))
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"embeddings.LayerNorm.weight: found NaN or infinite numbers; allowed: finite"
    ):
        MatryoshkaEncoder(model, device="cpu")


def test_opening_leaves_modes_and_random_state_alone(tiny_model: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    plain = SentenceTransformer(str(tiny_model), device="cpu")
    assert encoder.training == plain.training and encoder[0].training == plain[0].training
