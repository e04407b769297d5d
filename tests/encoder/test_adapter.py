"""Adapters of peft opened as models: merged into their base, hashed with it, refused if the two do not fit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    FourierFTConfig,
    HRAConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PeftModel,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, BertForMaskedLM

from matryoshka_text.encoder import MatryoshkaEncoder, resolve_model
from matryoshka_text.encoder.folder import read_folder
from matryoshka_text.errors import ModelError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning:peft")

TEXTS = ["hello world", "the cat and the dog"]
LAYERS = ["query", "value"]
Make = Callable[..., Path]


def shaken(model: Any) -> Any:
    """Fresh adapters change nothing."""
    drawn = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=drawn) * 0.1)
    return model.eval()


@pytest.fixture
def bare_adapter(tiny_model: Path, tmp_path: Path) -> Make:
    """bare_adapter(config): a shaken adapter of the tiny model, as peft saves one of a plain transformers model."""

    def make(config: Any = None, kind: Any = AutoModel) -> Path:
        base = kind.from_pretrained(tiny_model)
        torch.manual_seed(0)
        model = get_peft_model(base, config or LoraConfig(r=4, target_modules=LAYERS))
        shaken(model).save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
        return tmp_path / "adapter"

    return make


@pytest.fixture
def sentence_adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """A shaken adapter, saved by sentence-transformers next to modules of its own: prompts, and the pooling cls."""
    model = SentenceTransformer(str(tiny_model), device="cpu", prompts={"query": "ask: "})
    model[1].pooling_mode = ("cls",)
    model.add_adapter(LoraConfig(r=4, target_modules=LAYERS))
    shaken(model).save(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


def rewritten(folder: Path, **changes: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def reshaped(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


CONFIGS = {
    "lora": LoraConfig(r=4, target_modules=LAYERS),
    "dora": LoraConfig(r=4, target_modules=LAYERS, use_dora=True),
    "ranks": LoraConfig(r=4, target_modules=LAYERS, rank_pattern={"query": 2}),
    "embedding": LoraConfig(r=4, target_modules=["word_embeddings", "query"]),
    "bias": LoraConfig(r=4, target_modules=LAYERS, bias="all"),
    "kept": LoraConfig(r=4, target_modules=LAYERS, modules_to_save=["intermediate"]),
    "adalora": AdaLoraConfig(target_modules=LAYERS, total_step=10),
    "loha": LoHaConfig(r=4, target_modules=LAYERS),
    "lokr": LoKrConfig(r=4, target_modules=LAYERS),
    "oft": OFTConfig(oft_block_size=8, target_modules=LAYERS),
    "boft": BOFTConfig(boft_block_size=4, target_modules=LAYERS),
    "ia3": IA3Config(target_modules=LAYERS, feedforward_modules=[]),
    "hra": HRAConfig(r=4, target_modules=LAYERS),
    "vera": VeraConfig(r=4, target_modules=LAYERS),
    "fourier": FourierFTConfig(n_frequency=20, target_modules=LAYERS),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_adapter_of_a_plain_model_is_merged_into_its_base(kind: str, tiny_model: Path, bare_adapter: Make) -> None:
    adapter = bare_adapter(CONFIGS[kind])
    plain = SentenceTransformer(str(tiny_model), device="cpu")
    before = plain.encode(TEXTS)
    plain[0].model = PeftModel.from_pretrained(plain[0].model, str(adapter)).merge_and_unload()
    expected = plain.encode(TEXTS)
    found = MatryoshkaEncoder(adapter, device="cpu", local_files_only=True)
    assert np.abs(expected - before).max() > 1e-4
    np.testing.assert_allclose(found.encode(TEXTS), expected, atol=1e-6)
    assert all(parameter.requires_grad for parameter in found.parameters())


def test_an_adapter_of_sentence_transformers_brings_its_modules(sentence_adapter: Path, tmp_path: Path) -> None:
    expected = SentenceTransformer(str(sentence_adapter), device="cpu").encode(TEXTS)
    found = MatryoshkaEncoder(sentence_adapter, device="cpu")
    np.testing.assert_allclose(found.encode(TEXTS), expected, atol=1e-6)
    assert found.prompts["query"] == "ask: "
    found.save(str(tmp_path / "saved"))
    assert not list((tmp_path / "saved").glob("adapter*"))
    np.testing.assert_allclose(
        SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(TEXTS), expected, atol=1e-6
    )


def test_an_adapter_trained_under_a_head_is_merged(tiny_model: Path, bare_adapter: Make) -> None:
    headed = MatryoshkaEncoder(bare_adapter(kind=BertForMaskedLM), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(headed, MatryoshkaEncoder(bare_adapter(), device="cpu").encode(TEXTS), atol=1e-6)


def test_the_hash_holds_the_adapter_and_its_base(
    tiny_model: Path, other_model: Path, bare_adapter: Make, tmp_path: Path
) -> None:
    adapter = bare_adapter()
    shutil.copytree(tiny_model, tmp_path / "base")
    rewritten(adapter, base_model_name_or_path=str(tmp_path / "base"))
    seen = [resolve_model(str(tiny_model)).weights(), resolve_model(str(adapter)).weights()]
    shutil.copy(other_model / "model.safetensors", tmp_path / "base")
    seen.append(resolve_model(str(adapter)).weights())
    reshaped(adapter, lambda tensors: {name: tensor + 1 for name, tensor in tensors.items()})
    seen.append(resolve_model(str(adapter)).weights())
    assert len(set(seen)) == 4


def test_a_base_is_found_next_to_the_adapter(tiny_model: Path, bare_adapter: Make) -> None:
    adapter = bare_adapter()
    shutil.copytree(tiny_model, adapter.parent / "base")
    rewritten(adapter, base_model_name_or_path="../base")
    assert MatryoshkaEncoder(adapter, device="cpu").width == 32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"base_model_name_or_path": "/nowhere/base"},
            "base_model_name_or_path: found '/nowhere/base'.*no such folder",
        ),
        ({"base_model_name_or_path": "org/base"}, "found 'org/base'.*the hub cache .not there"),
        ({"base_model_name_or_path": None}, "base_model_name_or_path: found null; allowed: text"),
        ({"base_model_name_or_path": "../adapter"}, "which is an adapter too; allowed: a whole model"),
        ({"peft_type": "PROMPT_TUNING"}, "peft_type: found 'PROMPT_TUNING'; allowed: 'LORA', "),
        ({"peft_type": "NEW"}, "peft_type: found 'NEW'; allowed: 'LORA', "),
        ({"r": 7}, r"found the shape \[4, 32\], but adapter_config.json has r 7"),
        ({"r": "4"}, "r: found '4'; allowed: a whole number"),
        ({"target_modules": 5}, "target_modules: found 5; allowed"),
    ],
)
def test_odd_settings_are_refused_without_torch(changes: dict[str, object], words: str, bare_adapter: Make) -> None:
    adapter = bare_adapter()
    rewritten(adapter, **changes)
    with pytest.raises(ModelError, match=words):
        read_folder(resolve_model(str(adapter), local_only=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: {name: torch.ones(4, 48) for name in found}, r"but the weight of its base has \[32, 32\]"),
        (lambda found: {name.replace("layer", "block"): one for name, one in found.items()}, "adapter for layers of"),
        (lambda found: {}, r"found the weights \(none\)"),
    ],
)
def test_weights_of_another_base_are_refused_without_torch(change: Any, words: str, bare_adapter: Make) -> None:
    adapter = bare_adapter()
    reshaped(adapter, change)
    with pytest.raises(ModelError, match=words):
        read_folder(resolve_model(str(adapter)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: dict(list(found.items())[1:]), "its adapter lacks base_model.model.encoder.layer.0"),
        (lambda found: found | {"base_model.model.classifier.weight": torch.ones(2, 32)}, "no layer for: .*classifier"),
        (lambda found: {name: one * float("nan") for name, one in found.items()}, "NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: Any, words: str, bare_adapter: Make) -> None:
    adapter = bare_adapter()
    reshaped(adapter, change)
    with pytest.raises(ModelError, match=words):
        MatryoshkaEncoder(adapter, device="cpu")


def test_a_pickled_adapter_is_refused(bare_adapter: Make) -> None:
    adapter = bare_adapter()
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(
        ModelError, match=r"found an adapter and a pickle, adapter_model.bin; allowed: adapter_model.safe"
    ):
        MatryoshkaEncoder(adapter, device="cpu")


def test_more_words_than_the_base_has_are_refused(sentence_adapter: Path) -> None:
    file = sentence_adapter / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["vocab"]["newword"] = len(tokenizer["model"]["vocab"])
    file.write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match=r"found the token id 286, but the vocabulary matrix has 286 rows"):
        read_folder(resolve_model(str(sentence_adapter)))


def test_an_adapter_next_to_a_whole_model_is_refused(tiny_model: Path, bare_adapter: Make) -> None:
    adapter = bare_adapter()
    shutil.copytree(tiny_model, adapter, dirs_exist_ok=True)
    with pytest.raises(ModelError, match=r"found an adapter .* next to a whole model; allowed: one of the two"):
        MatryoshkaEncoder(adapter, device="cpu")


def test_a_prompt_is_no_adapter(tiny_model: Path, tmp_path: Path) -> None:
    config = PromptTuningConfig(num_virtual_tokens=3, task_type="FEATURE_EXTRACTION")
    get_peft_model(AutoModel.from_pretrained(tiny_model), config).save_pretrained(tmp_path / "prompt")
    with pytest.raises(ModelError, match="peft_type: found 'PROMPT_TUNING'"):
        MatryoshkaEncoder(tmp_path / "prompt", device="cpu")
