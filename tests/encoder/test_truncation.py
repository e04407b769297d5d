import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn

from matryoshka_text.encoder import MatryoshkaEncoder, width_of
from matryoshka_text.encoder.lora import add_adapter

TEXTS = ["the cat is sleeping", "money transfer to my bank account", "a woman playing the guitar in the street"]


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


@pytest.mark.parametrize(("dim", "layers"), [(8, 1), (5, 3), (None, 2), (16, None)])
def test_the_smaller_model_gives_the_larger_ones_cut_vectors_everywhere(
    family_encoder: Callable[[str], MatryoshkaEncoder],
    family_name: str,
    tmp_path: Path,
    dim: int | None,
    layers: int | None,
) -> None:
    big = family_encoder(family_name)
    expected, full = big.encode(TEXTS, dim=dim, layers=layers), big.encode(TEXTS)
    small = big.truncated(dim=dim, layers=layers)
    assert (small.width, small.depth) == (dim or 32, layers or 4)
    np.testing.assert_allclose(small.encode(TEXTS), expected, atol=1e-6)
    small.save(str(tmp_path / "small"), create_model_card=False)
    assert width_of(tmp_path / "small") == (dim or 32)
    ours, plain = (kind(str(tmp_path / "small"), device="cpu") for kind in (MatryoshkaEncoder, SentenceTransformer))
    np.testing.assert_allclose(ours.encode(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(plain.encode(TEXTS), expected, atol=1e-6)
    assert plain.get_embedding_dimension() == (dim or 32)
    assert (ours.width, ours.depth, ours.dims, ours.layers) == (small.width, small.depth, small.dims, small.layers)
    if dim:
        np.testing.assert_allclose(ours.encode(TEXTS, dim=4), big.encode(TEXTS, dim=4, layers=layers), atol=1e-6)
    # The larger one is as it was.
    assert (big.width, big.depth, big.dims, len(big)) == (32, 4, (8, 16, 32), 3)
    np.testing.assert_array_equal(big.encode(TEXTS), full)


def test_it_is_smaller_by_the_layers_left_out(
    family_encoder: Callable[[str], MatryoshkaEncoder], family_name: str, tmp_path: Path
) -> None:
    big = family_encoder(family_name)
    layers = getattr(big.transformers_model, "layers", None)
    if layers is None:
        holder = big.transformers_model.transformer if family_name == "distilbert" else big.transformers_model.encoder
        layers = holder.layer
    small = big.truncated(layers=1)
    assert _count(small) == _count(big) - sum(_count(layer) for layer in layers[1:])
    for name, model in (("big", big), ("small", small)):
        model.save(str(tmp_path / name), create_model_card=False)
    dropped = 4 * (_count(big) - _count(small))
    # The headers of the files name each weight.
    assert dropped <= _bytes(tmp_path / "big") - _bytes(tmp_path / "small") < dropped + 12_000
    assert _count(big.truncated(dim=8)) == _count(big) + 8 * 32


def test_it_says_what_it_was_trained_for(family_encoder: Callable[[str], MatryoshkaEncoder], tmp_path: Path) -> None:
    big = family_encoder("bert")
    big.layers = (1, 2, 4)
    assert [big.truncated(dim=dim).dims for dim in (4, 8, 20)] == [(4,), (8,), (8, 16, 20)]
    assert [big.truncated(layers=layers).layers for layers in (1, 2, 3, 4)] == [(1,), (1, 2), (1, 2, 3), (1, 2, 4)]
    for whole in (big.truncated(), big.truncated(dim=32, layers=4)):
        assert (whole.dims, whole.layers, len(whole)) == ((8, 16, 32), (1, 2, 4), 3)
        np.testing.assert_array_equal(whole.encode(TEXTS), big.encode(TEXTS))
    big.truncated(dim=20, layers=2).save(str(tmp_path / "small"), create_model_card=False)
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert config["matryoshka_dimensions"] == [8, 16, 20]
    assert (config["num_hidden_layers"], config["matryoshka_layers"]) == (2, [1, 2])
    assert big.layers == (1, 2, 4)


def test_it_can_be_cut_again(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    big = family_encoder("modernbert")
    twice = big.truncated(dim=16, layers=3).truncated(dim=8, layers=2)
    assert (len(twice), twice.width, twice.depth) == (4, 8, 2)
    np.testing.assert_allclose(twice.encode(TEXTS), big.encode(TEXTS, dim=8, layers=2), atol=1e-6)


@pytest.mark.filterwarnings("ignore:Implicit dimension choice for softmax")
@pytest.mark.parametrize(
    ("dense", "modules"),
    [
        (lambda: Dense(32, 24), 4),
        (lambda: Dense(32, 24, bias=False, activation_function=nn.Identity()), 4),
        (lambda: Dense(32, 24, activation_function=nn.GELU()), 4),
        # A softmax reads all coordinates, and a residual has rows of its own: the rows cannot simply be cut.
        (lambda: Dense(32, 24, activation_function=nn.Softmax(dim=-1)), 5),
        (lambda: Dense(32, 24, use_residual=True), 5),
        (lambda: Dense(32, 32, use_residual=True), 5),
    ],
)
def test_a_model_that_ends_in_a_dense_has_its_rows_cut(
    family_encoder: Callable[[str], MatryoshkaEncoder], tmp_path: Path, dense: Callable[[], Dense], modules: int
) -> None:
    torch.manual_seed(2)
    plain, last = family_encoder("bert"), dense()
    width = last.out_features
    big = MatryoshkaEncoder(modules=[plain[0], plain[1], last], dims=(6, width), device="cpu")
    expected, before = big.encode(TEXTS, dim=6, layers=2), copy.deepcopy(last.state_dict())
    small = big.truncated(dim=6, layers=2)
    assert (len(small), small.width, width_of_saved(small, tmp_path / "s")) == (modules, 6, 6)
    np.testing.assert_allclose(small.encode(TEXTS), expected, atol=1e-6)
    opened = SentenceTransformer(str(tmp_path / "s"), device="cpu")
    np.testing.assert_allclose(opened.encode(TEXTS), expected, atol=1e-6)
    assert all(torch.equal(before[name], last.state_dict()[name]) for name in before)
    if modules == 4:
        assert _count(small[2]) == _count(last) * 6 // width


def width_of_saved(encoder: MatryoshkaEncoder, path: Path) -> int | None:
    encoder.save(str(path), create_model_card=False)
    return width_of(path)


@pytest.mark.parametrize("dim", [0, -1, 33, 8.0, True, "8"])
def test_a_dim_that_cannot_be_is_refused_with_the_range(
    family_encoder: Callable[[str], MatryoshkaEncoder], dim: object
) -> None:
    with pytest.raises(ValueError, match="from 1 to 32"):
        family_encoder("bert").truncated(dim=dim)


def test_adapted_weights_are_merged_first(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    encoder = family_encoder("roberta")
    add_adapter(encoder, rank=2, alpha=4.0, dropout=0.1, target_modules="all-linear")
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.2)
    small = encoder.truncated(dim=8, layers=2)
    np.testing.assert_allclose(small.encode(TEXTS), encoder.encode(TEXTS, dim=8, layers=2), atol=1e-5)
    assert not any("lora" in name or "base_layer" in name for name in small.state_dict())
    assert any("lora" in name for name in encoder.state_dict())


def test_the_shared_layer_of_albert_is_run_less_often(
    other_encoder: Callable[..., MatryoshkaEncoder], tmp_path: Path
) -> None:
    big = other_encoder("albert", embedding_size=16)
    small = big.truncated(dim=8, layers=2)
    assert width_of_saved(small, tmp_path / "s") == 8
    opened = SentenceTransformer(str(tmp_path / "s"), device="cpu")
    np.testing.assert_allclose(opened.encode(TEXTS), big.encode(TEXTS, dim=8, layers=2), atol=1e-6)


def test_heads_are_left_out(family_encoder: Callable[[str], MatryoshkaEncoder], tmp_path: Path) -> None:
    class Head:
        def save(self, folder: Path) -> None:
            (folder / "config.json").write_text("{}")

    big = family_encoder("bert")
    big.heads["head"] = Head()
    big.save(str(tmp_path / "big"), create_model_card=False)
    opened = MatryoshkaEncoder(tmp_path / "big", device="cpu")
    for small in (big.truncated(dim=8), opened.truncated(layers=2)):
        small.save(str(tmp_path / "small"), create_model_card=False)
        assert (small.heads, (tmp_path / "small" / "heads").exists()) == ({}, False)
    assert list(big.heads) == ["head"]
