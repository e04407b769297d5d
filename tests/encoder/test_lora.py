import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.layers import vectors_by_layer
from matryoshka_text.encoder.lora import add_adapter, merged

TEXTS = ["the cat is sleeping", "money transfer to my bank account"]


@pytest.mark.parametrize("targets", ["all-linear", ["query", "value"]])
def test_the_merged_model_gives_the_adapted_vectors_and_has_no_adapter(
    tiny_model: Path, targets: str | list[str], tmp_path: Path
) -> None:
    encoder = MatryoshkaEncoder(tiny_model, dims=(8, 32), device="cpu")
    before = encoder.encode(TEXTS)
    add_adapter(encoder, rank=4, alpha=8, dropout=0.1, target_modules=targets)
    assert all("lora_" in name for name, p in encoder.named_parameters() if p.requires_grad)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    adapted = encoder.encode(TEXTS)
    assert np.abs(adapted - before).max() > 1e-3
    plain = merged(encoder)
    np.testing.assert_allclose(plain.encode(TEXTS), adapted, atol=1e-5)
    assert not any("lora" in name or "base_layer" in name for name in plain.state_dict())
    plain.save(str(tmp_path / "model"))
    np.testing.assert_allclose(MatryoshkaEncoder(tmp_path / "model", device="cpu").encode(TEXTS), adapted, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode(TEXTS), adapted)


def _drawn(encoder: MatryoshkaEncoder) -> MatryoshkaEncoder:
    """The matrices that begin at zero, away from it."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    return encoder


def test_every_family_is_adapted_and_merged_at_full_depth_and_below(
    family_encoder: Callable[[str], MatryoshkaEncoder], family_name: str
) -> None:
    encoder = family_encoder(family_name)
    linear = {
        name
        for name, module in encoder.transformers_model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith("pooler")
    }
    before = encoder.encode(TEXTS)
    add_adapter(encoder, rank=2, alpha=4.0, dropout=0.1, target_modules="all-linear")
    adapted = {name for name, module in encoder.transformers_model.named_modules() if hasattr(module, "lora_A")}
    assert adapted == linear
    features = encoder.preprocess(TEXTS)
    vectors_by_layer(encoder, features, [2, 4]).pow(3).sum().backward()
    trained = {n for n, p in encoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert trained
    assert all("lora_" in name for name in trained)
    _drawn(encoder)
    plain = merged(encoder)
    assert np.abs(encoder.encode(TEXTS) - before).max() > 1e-2
    for layers in (None, 1, 3):
        np.testing.assert_allclose(
            plain.encode(TEXTS, layers=layers), encoder.encode(TEXTS, layers=layers), atol=1e-5, rtol=0
        )
    with torch.no_grad():
        both = [vectors_by_layer(one.eval(), features, [1, 2, 4]) for one in (encoder, plain)]
    torch.testing.assert_close(both[0], both[1], atol=1e-5, rtol=0)
    assert list(plain.state_dict()) == list(family_encoder(family_name).state_dict())


def test_an_adapted_word_embedding_is_merged_too(
    family_encoder: Callable[[str], MatryoshkaEncoder], family_name: str, tmp_path: Path
) -> None:
    encoder = family_encoder(family_name)
    word = encoder.transformers_model.get_input_embeddings()
    name = next(name for name, module in encoder.transformers_model.named_modules() if module is word)
    before = word.weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        add_adapter(encoder, rank=2, alpha=4.0, dropout=0.0, target_modules=[name])
    encoder(encoder.preprocess(TEXTS))["sentence_embedding"].pow(3).sum().backward()
    trained = {n for n, p in encoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert len(trained) >= 1
    _drawn(encoder)
    plain = merged(encoder)
    assert (plain.transformers_model.get_input_embeddings().weight - before).abs().max() > 1e-2
    np.testing.assert_allclose(plain.encode(TEXTS, layers=2), encoder.encode(TEXTS, layers=2), atol=1e-5, rtol=0)
    plain.save(str(tmp_path / "model"))
    opened = MatryoshkaEncoder(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(opened.encode(TEXTS), encoder.encode(TEXTS), atol=1e-5, rtol=0)
    assert not any("lora" in name for name in plain.state_dict())


def test_all_linear_stays_inside_the_backbone(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    from sentence_transformers.sentence_transformer.modules import Dense

    plain = family_encoder("bert")
    encoder = MatryoshkaEncoder(modules=[plain[0], plain[1], Dense(32, 24)], device="cpu")
    add_adapter(encoder, rank=2, alpha=4.0, dropout=0.0, target_modules="all-linear")
    assert not any("lora" in name for name in encoder[2].state_dict())
    assert not any("lora" in name and "pooler" in name for name in encoder.state_dict())
