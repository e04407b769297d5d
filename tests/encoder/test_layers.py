"""The oracle: the backbone built anew with n layers, given the whole one's weights, pooled by a plain loop."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModel

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.layers import depth_of, first_layers, layer_list, vectors_by_layer
from matryoshka_text.encoder.lora import add_adapter
from matryoshka_text.errors import ModelError

TEXTS = ["the cat is sleeping", "money transfer to my bank account", "a woman playing the guitar in the street"]


def _features(encoder: MatryoshkaEncoder) -> dict[str, Any]:
    return encoder.preprocess(TEXTS)


def _oracle(encoder: MatryoshkaEncoder, layers: int) -> torch.Tensor:
    """Unit-length means of the token states of a new backbone that never had more than `layers` layers."""
    given = encoder.transformers_model.config.to_dict()
    if kinds := given.get("layer_types"):
        given["layer_types"] = kinds[:layers]
    name = "n_layers" if "n_layers" in given else "num_hidden_layers"
    small = AutoModel.from_config(type(encoder.transformers_model.config).from_dict({**given, name: layers}))
    missing, _ = small.load_state_dict(encoder.transformers_model.state_dict(), strict=False)
    assert not missing
    features = _features(encoder)
    with torch.no_grad():
        inputs = {key: features[key] for key in ("input_ids", "attention_mask")}
        states = small.eval()(**inputs).last_hidden_state.double()
    rows = []
    for text, mask in zip(states, features["attention_mask"], strict=True):
        mean = sum(state for state, kept in zip(text, mask, strict=True) if kept) / int(mask.sum())
        rows.append(mean / mean.norm())
    return torch.stack(rows)


def _check_every_layer(encoder: MatryoshkaEncoder) -> None:
    depth, features = encoder.depth, _features(encoder)
    with torch.no_grad():
        vectors = vectors_by_layer(encoder, features, range(1, depth + 1))
        assert vectors.shape == (depth, len(TEXTS), encoder.width)
        torch.testing.assert_close(vectors[-1], encoder(dict(features))["sentence_embedding"], atol=1e-6, rtol=0)
        for layer in range(1, depth + 1):
            torch.testing.assert_close(vectors[layer - 1].double(), _oracle(encoder, layer), atol=1e-6, rtol=0)
            with first_layers(encoder, layer):
                one = encoder(dict(features))["sentence_embedding"]
            torch.testing.assert_close(vectors[layer - 1], one, atol=1e-6, rtol=0)
    # Otherwise the layers would be told apart by nothing above.
    assert (vectors[1:] - vectors[:-1]).abs().amax((1, 2)).min() > 1e-2
    assert sorted(features) == sorted(_features(encoder))


def test_vectors_after_each_layer_are_those_of_the_first_layers_alone(
    family_encoder: Callable[[str], MatryoshkaEncoder], family_name: str
) -> None:
    _check_every_layer(family_encoder(family_name))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("roberta-prelayernorm", {}),
        ("albert", {"embedding_size": 16}),
        ("deberta", {"relative_attention": True, "pos_att_type": ["c2p"]}),
        ("deberta-v2", {"conv_kernel_size": 3, "relative_attention": True, "pos_att_type": ["c2p"]}),
        ("bert", {"num_hidden_layers": 1}),
    ],
)
def test_other_families_too(other_encoder: Callable[..., MatryoshkaEncoder], name: str, settings: dict) -> None:
    encoder = other_encoder(name, **settings)
    assert encoder.depth == settings.get("num_hidden_layers", 4)
    if encoder.depth > 1:
        _check_every_layer(encoder)


def test_layers_above_the_last_one_asked_for_are_not_run(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    encoder = family_encoder("modernbert")
    holder, name = layer_list(encoder.transformers_model)
    runs: list[int] = []
    for index, layer in enumerate(getattr(holder, name)):
        layer.register_forward_hook(lambda *_, index=index: runs.append(index))
    both = vectors_by_layer(encoder, _features(encoder), [1, 3])
    assert runs == [0, 1, 2]
    every = vectors_by_layer(encoder, _features(encoder), [1, 2, 3, 4])
    torch.testing.assert_close(both, every[[0, 2]], atol=1e-6, rtol=0)


def _given_gradients(encoder: MatryoshkaEncoder, layers: list[int], row: int) -> set[int]:
    """The layers, from 0, that get a gradient from one row of the vectors."""
    encoder.zero_grad()
    vectors_by_layer(encoder, _features(encoder), layers)[row].double().pow(3).sum().backward()
    holder, name = layer_list(encoder.transformers_model)
    return {
        index
        for index, layer in enumerate(getattr(holder, name))
        if any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in layer.parameters())
    }


@pytest.mark.parametrize("lora", [False, True])
def test_each_row_has_its_own_layers_gradients(
    family_encoder: Callable[[str], MatryoshkaEncoder], family_name: str, lora: bool
) -> None:
    encoder = family_encoder(family_name)
    if lora:
        add_adapter(encoder, rank=2, alpha=4.0, dropout=0.0, target_modules="all-linear")
    assert _given_gradients(encoder, [2, 4], 0) == {0, 1}
    assert _given_gradients(encoder, [2, 4], 1) == {0, 1, 2, 3}
    word = encoder.transformers_model.get_input_embeddings().weight
    assert lora or word.grad.abs().sum() > 0


def test_the_gradient_is_that_of_the_first_layers_alone(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    encoder = family_encoder("modernbert").double()
    gradients = []
    for together in (True, False):
        encoder.zero_grad()
        if together:
            vectors = vectors_by_layer(encoder, _features(encoder), [2, 4])[0]
        else:
            with first_layers(encoder, 2):
                vectors = encoder(_features(encoder))["sentence_embedding"]
        vectors.pow(3).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        # The row of the last layer got no gradient, and hands on exact zeros.
        expected = gradients[1].get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=1e-9)
    assert gradients[1].keys() < gradients[0].keys()


def test_under_autocast_the_rows_are_those_of_the_first_layers_under_autocast(
    family_encoder: Callable[[str], MatryoshkaEncoder], family_name: str
) -> None:
    encoder = family_encoder(family_name)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = vectors_by_layer(encoder, _features(encoder), [2, 4])
        with first_layers(encoder, 2):
            alone = encoder(_features(encoder))["sentence_embedding"]
        whole = encoder(_features(encoder))["sentence_embedding"]
    assert torch.equal(vectors[0], alone.to(vectors.dtype))
    assert torch.equal(vectors[1], whole.to(vectors.dtype))


def test_dropout_is_drawn_once_for_all_layers(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    encoder = family_encoder("bert").train()
    rows = []
    for layers in ([2, 4], [2]):
        torch.manual_seed(3)
        rows.append(vectors_by_layer(encoder, _features(encoder), layers)[0])
    assert torch.equal(rows[0], rows[1])


def test_a_dense_after_the_pooling_is_gone_through(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    from sentence_transformers.sentence_transformer.modules import Dense

    plain = family_encoder("bert")
    torch.manual_seed(0)
    encoder = MatryoshkaEncoder(modules=[plain[0], plain[1], Dense(32, 24)], device="cpu").eval()
    vectors = vectors_by_layer(encoder, _features(encoder), [1, 4])
    assert vectors.shape == (2, 3, 24)
    np.testing.assert_allclose(vectors[0].detach(), encoder.encode(TEXTS, layers=1), atol=1e-6)


def test_inside_the_model_has_only_the_first_layers_and_everything_comes_back(
    family_encoder: Callable[[str], MatryoshkaEncoder], family_name: str
) -> None:
    encoder = family_encoder(family_name)
    config, names = encoder.config.to_dict(), list(encoder.state_dict())
    before = encoder.encode(TEXTS)
    with pytest.raises(KeyError, match="mine"), first_layers(encoder, 2):
        assert depth_of(encoder) == encoder.depth == encoder.config.num_hidden_layers == 2
        assert len(encoder.state_dict()) < len(names)
        with first_layers(encoder, 1):
            assert encoder.depth == 1
        assert encoder.depth == 2
        with pytest.raises(ValueError, match="from 1 to 2"), first_layers(encoder, 3):
            pass
        raise KeyError("mine")
    assert (encoder.config.to_dict(), list(encoder.state_dict()), encoder.depth) == (config, names, 4)
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)
    with first_layers(encoder, None):
        assert encoder.depth == 4


def test_mode_and_device_set_inside_reach_the_layers_that_were_out(
    family_encoder: Callable[[str], MatryoshkaEncoder],
) -> None:
    encoder = family_encoder("bert").train()
    with first_layers(encoder, 1):
        encoder.eval()
    assert not any(module.training for module in encoder.modules())
    encoder.train().encode(TEXTS, layers=2)
    assert not any(module.training for module in encoder.modules())
    with first_layers(encoder, 1):
        encoder.to("meta")
    assert {parameter.device.type for parameter in encoder.parameters()} == {"meta"}


@pytest.mark.parametrize("wrong", [[], [0], [5], [-1, 2], [2, 2], [3, 1], [1.0], [True], ["2"], [None], [1, 2.5]])
def test_layers_that_cannot_be_are_refused_with_the_range(
    family_encoder: Callable[[str], MatryoshkaEncoder], wrong: list
) -> None:
    encoder = family_encoder("bert")
    with pytest.raises(ValueError, match="from 1 to 4"):
        vectors_by_layer(encoder, _features(encoder), wrong)


class _Backbone(nn.Module):
    def __init__(self, depth: int, **lists: int) -> None:
        super().__init__()
        from transformers import PretrainedConfig

        self.config = PretrainedConfig(num_hidden_layers=depth)
        for name, length in lists.items():
            self.add_module(name, nn.ModuleList(nn.Linear(2, 2) for _ in range(length)))


def test_the_list_is_found_by_its_length_or_not_at_all() -> None:
    backbone = _Backbone(3, experts=2, blocks=3)
    assert layer_list(backbone) == (backbone, "blocks")
    with pytest.raises(
        ModelError, match=r"its depth is 3, and .* are: a \(3\), b \(3\); allowed: one list of 3 layers"
    ):
        layer_list(_Backbone(3, a=3, b=3))
    with pytest.raises(ModelError, match="are: none; allowed"):
        layer_list(_Backbone(3))
    mixed = _Backbone(2, a=2)
    mixed.a[1] = nn.ReLU()
    with pytest.raises(ModelError, match="are: none"):
        layer_list(mixed)


def test_shared_layers_in_several_groups_are_refused(other_encoder: Callable[..., MatryoshkaEncoder]) -> None:
    encoder = other_encoder("albert", embedding_size=16, num_hidden_groups=2)
    with pytest.raises(ModelError, match=r"AlbertModel: its depth is 4, .*albert_layer_groups \(2\)"):
        encoder.encode(TEXTS, layers=2)
    assert encoder.encode(TEXTS).shape == (3, 32)


def test_a_computation_that_is_no_module_is_refused(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    encoder = family_encoder("bert")
    inner = encoder.transformers_model.encoder
    forward = inner.forward

    def doubled(*given: Any, **named: Any) -> Any:
        output = forward(*given, **named)
        output.last_hidden_state = output.last_hidden_state * 2
        return output

    inner.forward = doubled
    assert vectors_by_layer(encoder, _features(encoder), [2]).shape == (1, 3, 32)
    with pytest.raises(ModelError, match="BertModel computes something between its last layer"):
        vectors_by_layer(encoder, _features(encoder), [2, 4])


def test_a_weighted_mean_of_all_layers_cannot_do_with_fewer(family_encoder: Callable[[str], Any]) -> None:
    from sentence_transformers.sentence_transformer.modules import WeightedLayerPooling

    first, pooling, normalize = family_encoder("bert")
    first.model.config.output_hidden_states = True
    weighted = WeightedLayerPooling(32, num_hidden_layers=4, layer_start=1)
    encoder = MatryoshkaEncoder(modules=[first, weighted, pooling, normalize], device="cpu")
    assert encoder.encode(["a cat"], layers=4).shape == (1, 32)
    for call in (lambda: encoder.encode(["a cat"], layers=2), lambda: encoder.truncated(layers=2)):
        with pytest.raises(ModelError, match=r"WeightedLayerPooling.*all its layers"):
            call()
    with pytest.raises(ModelError, match="WeightedLayerPooling"):
        vectors_by_layer(encoder, encoder.preprocess(["a cat"]), (2, 4))
