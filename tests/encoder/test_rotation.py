"""A rotation in an encoder: the same vectors times R, for plain sentence-transformers too."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Router
from torch import nn

from matryoshka_text import Rotation
from matryoshka_text.build.runtime import Runtime
from matryoshka_text.encoder import MatryoshkaEncoder, width_of
from matryoshka_text.encoder.lora import add_adapter, merged
from matryoshka_text.encoder.rotation import require_rotatable
from matryoshka_text.errors import ModelError

TEXTS = ["the cat is sleeping", "money transfer to my bank account", "a woman playing the guitar in the street"]


@pytest.fixture
def encoder(family_encoder: Callable[[str], MatryoshkaEncoder]) -> MatryoshkaEncoder:
    return family_encoder("bert")


def _denses(encoder: SentenceTransformer) -> list[Dense]:
    return [module for module in encoder if isinstance(module, Dense)]


def test_vectors_are_multiplied_by_r_everywhere(
    family_encoder: Callable[[str], MatryoshkaEncoder], family_name: str, rotation: Rotation, tmp_path: Path
) -> None:
    big = family_encoder(family_name)
    before = big.encode(TEXTS)
    turned = big.rotated(rotation)
    expected = before @ rotation.matrix
    np.testing.assert_allclose(turned.encode(TEXTS), expected, atol=1e-6)
    assert turned.dims == (4, 8, 16, 32)
    turned.save(str(tmp_path / "model"), create_model_card=False)
    plain = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(plain.encode(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(plain.encode(TEXTS) @ plain.encode(TEXTS).T, before @ before.T, atol=1e-6)
    ours = MatryoshkaEncoder(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(ours.encode(TEXTS, dim=8), rotation.apply(before, dim=8), atol=1e-6)
    assert (ours.dims, width_of(tmp_path / "model")) == ((4, 8, 16, 32), 32)
    # The base is as it was.
    np.testing.assert_array_equal(big.encode(TEXTS), before)
    assert (big.dims, len(big)) == ((8, 16, 32), 3)


def test_rotated_twice_it_has_one_dense_with_the_product(encoder: MatryoshkaEncoder, rotation: Rotation) -> None:
    later = Rotation(rotation.matrix.T[::-1], (2, 32))
    twice = encoder.rotated(rotation).rotated(later)
    (dense,) = _denses(twice)
    np.testing.assert_allclose(dense.linear.weight.detach().numpy().T, rotation.then(later).matrix, atol=1e-6)
    assert twice.dims == (2, 32)
    back = encoder.rotated(rotation).rotated(Rotation(rotation.matrix.T, ()))
    np.testing.assert_allclose(back.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)
    assert back.dims == (4, 8, 16, 32)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_dense_takes_the_rotation_in_and_another_stays(
    encoder: MatryoshkaEncoder, rotation: Rotation, bias: bool
) -> None:
    def with_dense(activation: nn.Module) -> MatryoshkaEncoder:
        torch.manual_seed(0)
        changed = copy.deepcopy(encoder)
        changed.insert(2, Dense(32, 32, bias=bias, activation_function=activation))
        return changed.eval()

    for activation, count in ((nn.Identity(), 1), (nn.Tanh(), 2)):
        base = with_dense(activation)
        turned = base.rotated(rotation)
        assert len(_denses(turned)) == count
        np.testing.assert_allclose(turned.encode(TEXTS), base.encode(TEXTS) @ rotation.matrix, atol=1e-6)


def test_truncated_folds_the_rotation_into_one_dense(encoder: MatryoshkaEncoder, rotation: Rotation) -> None:
    turned = encoder.rotated(rotation)
    small = turned.truncated(dim=8)
    (dense,) = _denses(small)
    assert (dense.in_features, dense.out_features, small.width, small.dims) == (32, 8, 8, (4, 8))
    np.testing.assert_allclose(small.encode(TEXTS), turned.encode(TEXTS, dim=8), atol=1e-6)
    np.testing.assert_allclose(small.encode(TEXTS), rotation.apply(encoder.encode(TEXTS), dim=8), atol=1e-6)


def test_layers_run_through_the_rotation(encoder: MatryoshkaEncoder, rotation: Rotation) -> None:
    turned = encoder.rotated(rotation)
    expected = rotation.apply(encoder.encode(TEXTS, layers=2), dim=8)
    np.testing.assert_allclose(turned.encode(TEXTS, dim=8, layers=2), expected, atol=1e-6)
    np.testing.assert_allclose(turned.truncated(dim=8, layers=2).encode(TEXTS), expected, atol=1e-6)


def test_lora_matrices_stay_and_heads_do_not(encoder: MatryoshkaEncoder, rotation: Rotation) -> None:
    add_adapter(encoder, rank=2, alpha=4, dropout=0.0, target_modules="all-linear")
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    encoder.eval().heads = {"classify": None}  # type: ignore[dict-item]
    turned = encoder.rotated(rotation)
    assert turned.heads == {}
    assert any("lora_B" in name for name, _ in turned.named_parameters())
    expected = encoder.encode(TEXTS) @ rotation.matrix
    np.testing.assert_allclose(turned.encode(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(merged(turned).encode(TEXTS), expected, atol=1e-5)


def test_another_attention_runs_through_the_rotation(encoder: MatryoshkaEncoder, rotation: Rotation) -> None:
    turned = encoder.rotated(rotation)
    expected = turned.encode(TEXTS)
    Runtime(attention="eager").apply(turned)
    np.testing.assert_allclose(turned.encode(TEXTS), expected, atol=1e-6)


def test_compiled_it_gives_the_same(
    encoder: MatryoshkaEncoder, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = encoder.rotated(rotation)
    expected = turned.encode(TEXTS)
    compiled = torch.compile
    # torch's own compiler needs a minute and a C++ compiler; the graph is the same.
    monkeypatch.setattr(torch, "compile", lambda f, **words: compiled(f, **words, backend="eager"))
    Runtime(compile=True).apply(turned)
    np.testing.assert_allclose(turned.encode(TEXTS), expected, atol=1e-6)


def test_what_cannot_be_rotated_is_told(encoder: MatryoshkaEncoder, rotation: Rotation) -> None:
    with pytest.raises(ModelError, match="rotation is of width 16, but the model gives vectors of width 32"):
        encoder.rotated(Rotation(np.eye(16), (8,)))
    with pytest.raises(ModelError, match="ends in a Dense from 32 to 8 dims; allowed: a model without"):
        require_rotatable(encoder.truncated(dim=8))
    routed: Any = copy.deepcopy(encoder)
    ways = {"query": [copy.deepcopy(routed[1])], "document": [copy.deepcopy(routed[1])]}
    routed._modules["1"] = Router.for_query_document(ways["query"], ways["document"])
    with pytest.raises(ModelError, match="different modules for queries and documents"):
        require_rotatable(routed)
