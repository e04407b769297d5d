"""A smaller model cut from a Matryoshka encoder: its first layers, its first coordinates."""

import copy
from typing import TYPE_CHECKING

import torch
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn

from matryoshka_text.encoder.adapter import merged
from matryoshka_text.encoder.layers import first_layers, whole_number

if TYPE_CHECKING:
    from matryoshka_text.encoder.matryoshka import MatryoshkaEncoder

__all__ = ["truncated"]

# Applied to each coordinate by itself, so that a prefix of their input gives the prefix of their output.
_ELEMENTWISE = (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)


def truncated(encoder: "MatryoshkaEncoder", dim: int | None = None, layers: int | None = None) -> "MatryoshkaEncoder":
    """A copy whose own, full-width vectors are `encoder.encode(texts, dim=dim, layers=layers)`; None: nothing is cut.

    It holds the first `layers` layers alone and ends in a Dense of `dim` rows before its Normalize: the last Dense of
    the encoder cut to size where there is one, else rows of the identity. LoRA matrices are merged in, and heads are
    left out, since they read full vectors. `ValueError` for a dim above the width or layers above the depth.
    """
    cut = encoder.width if dim is None else whole_number("dim", dim, encoder.width, "width")
    trained, dims = encoder.layers if layers is not None else (), encoder.dims
    with first_layers(encoder, layers):
        small = merged(encoder)
        if small is encoder:
            small = copy.deepcopy(encoder)
    # What it was opened from, and the heads there, belong to the larger model.
    small.heads, small.resolved = {}, None
    if layers is not None:
        small.layers = (*(layer for layer in trained if layer < small.depth), small.depth)
    if cut < encoder.width:
        _narrow(small, cut)
        small._width = cut
        small.dims = (*(d for d in dims if d < cut), cut)
    return small


def _narrow(encoder: "MatryoshkaEncoder", dim: int) -> None:
    """Let `encoder` give the first `dim` coordinates of what it gave, from before its closing Normalize."""
    *before, (closing, normalize) = encoder._modules.items()
    name, last = before[-1]
    if isinstance(last, Dense) and _can_be_cut(last):
        encoder._modules[name] = _first_rows(last, dim)
        return
    first = torch.eye(dim, encoder.width, device=encoder.device, dtype=encoder.dtype)
    dense = Dense(encoder.width, dim, bias=False, activation_function=nn.Identity(), init_weight=first)
    del encoder._modules[closing]
    encoder._modules[str(len(before))] = dense.train(encoder.training)
    encoder._modules[str(len(before) + 1)] = normalize


def _can_be_cut(dense: Dense) -> bool:
    return (
        isinstance(dense.activation_function, _ELEMENTWISE)
        and not dense.use_residual
        and dense.module_input_name == dense.module_output_name == "sentence_embedding"
    )


def _first_rows(dense: Dense, dim: int) -> Dense:
    linear = dense.linear
    cut = Dense(
        dense.in_features,
        dim,
        bias=dense.bias,
        activation_function=dense.activation_function,
        init_weight=linear.weight.detach()[:dim].clone(),
        init_bias=linear.bias.detach()[:dim].clone() if dense.bias else None,
    )
    return cut.train(dense.training)
