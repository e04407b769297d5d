"""A rotation put into an encoder: one Dense before its Normalize, which plain sentence-transformers loads."""

import copy
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float64
from sentence_transformers.sentence_transformer.modules import Dense
from torch import Tensor, nn

from matryoshka_text.errors import ModelError
from matryoshka_text.rotation import Rotation

if TYPE_CHECKING:
    from matryoshka_text.encoder.matryoshka import MatryoshkaEncoder

__all__ = ["require_rotatable", "rotated", "turn"]


_ROUTERS = ("Router", "Asym")


def rotated(encoder: "MatryoshkaEncoder", rotation: Rotation) -> "MatryoshkaEncoder":
    """A copy of `encoder`, turned; see `MatryoshkaEncoder.rotated`."""
    found = copy.deepcopy(encoder)
    turn(found, rotation)
    # What it was opened from, and the heads there, belong to the vectors as they were.
    found.heads, found.resolved = {}, None
    if rotation.dims:
        found.dims = rotation.dims
    return found


def turn(encoder: "MatryoshkaEncoder", rotation: Rotation) -> None:
    """Let `encoder` give `vectors @ R` where it gave `vectors`: in place, before its closing Normalize.

    Full-width cosines, and inner products of a model that does not normalise, stay as they are: R is orthogonal.
    A linear Dense that stands there already (an earlier rotation) takes R in: the matrices are multiplied, and there
    is one Dense, never two. `ModelError` where the width is another, or `require_rotatable` refuses the model.
    """
    if rotation.width != encoder.width:
        raise ModelError(
            f"the rotation is of width {rotation.width}, but the model gives vectors of width {encoder.width}; "
            "allowed: a rotation learned from this model's own full-width vectors; learn one with `mtext rotate`"
        )
    require_rotatable(encoder)
    matrix = torch.from_numpy(rotation.matrix)
    *before, (closing, normalize) = encoder._modules.items()
    _, last = before[-1]
    if isinstance(last, Dense) and _is_linear(last):
        _fold(last, matrix)
        return
    dense = Dense(encoder.width, encoder.width, bias=False, activation_function=nn.Identity())
    dense.linear.weight = nn.Parameter(matrix.T.to(encoder.device, torch.float32).contiguous())
    del encoder._modules[closing]
    encoder._modules[str(len(before))] = dense.train(encoder.training)
    encoder._modules[str(len(before) + 1)] = normalize


def require_rotatable(encoder: "MatryoshkaEncoder") -> None:
    """`ModelError` for a model with a Router, or with a closing Dense that changes the width: its vectors are cut."""
    modules = list(encoder._modules.values())
    if any(type(module).__name__ in _ROUTERS for module in modules):
        raise ModelError(
            "the model has different modules for queries and documents, so a text has no single vector; allowed: a "
            "model with one way from a text to its vector"
        )
    last = modules[-2]
    if isinstance(last, Dense) and last.in_features != last.out_features:
        raise ModelError(
            f"the model ends in a Dense from {last.in_features} to {last.out_features} dims; allowed: a model without "
            "one, or with one that keeps the width; rotate the model that it was made from and truncate it afterwards, "
            "or rotate its vectors: mtext rotate --vectors"
        )


def _is_linear(dense: Dense) -> bool:
    return (
        isinstance(dense.activation_function, nn.Identity)
        and not dense.use_residual
        and dense.module_input_name == dense.module_output_name == "sentence_embedding"
    )


def _fold(dense: Dense, matrix: Float64[Tensor, "width width"]) -> None:
    """From y = x W^T + b to y R = x (R^T W)^T + b R."""
    linear = dense.linear
    with torch.no_grad():
        matrix = matrix.to(linear.weight.device)
        linear.weight.copy_((matrix.T @ linear.weight.double()).to(linear.weight.dtype))
        if linear.bias is not None:
            linear.bias.copy_((linear.bias.double() @ matrix).to(linear.bias.dtype))
