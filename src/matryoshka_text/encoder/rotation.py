"""A rotation put into an encoder: one Dense before its Normalize, which plain sentence-transformers loads."""

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from matryoshka_text.encoder.compat import (
    Dense,
    SentenceTransformer,
    has_ways,
    modules_of,
    put_before_last,
    reads_vectors,
)
from matryoshka_text.errors import ModelError
from matryoshka_text.rotation import Rotation

__all__ = ["require_rotatable", "turn"]


def turn(encoder: SentenceTransformer, rotation: Rotation) -> None:
    """Let `encoder` give `vectors @ R` where it gave `vectors`: in place, before its closing Normalize.

    Full-width cosines, and inner products of a model that does not normalise, stay as they are: R is orthogonal.
    A linear Dense that stands there already (an earlier rotation) takes R in: the matrices are multiplied, and there
    is one Dense, never two. `ModelError` if the width is another, or `require_rotatable` refuses the model.
    """
    width = encoder.get_embedding_dimension()
    if rotation.width != width:
        raise ModelError(
            f"the rotation is of width {rotation.width}, but the model gives vectors of width {width}; "
            "allowed: a rotation learned from this model's own full-width vectors; learn one with `mtext rotate`"
        )
    require_rotatable(encoder)
    matrix = torch.from_numpy(rotation.matrix)
    *_, last, _ = modules_of(encoder).values()
    if isinstance(last, Dense) and _is_linear(last):
        _fold(last, matrix)
        return
    dense = Dense(width, width, bias=False, activation_function=nn.Identity())
    dense.linear.weight = nn.Parameter(matrix.T.to(encoder.device, torch.float32).contiguous())
    put_before_last(encoder, dense)


def require_rotatable(encoder: SentenceTransformer) -> None:
    """`ModelError` for a model with a Router, or with a closing Dense that changes the width: its vectors are cut."""
    if has_ways(encoder):
        raise ModelError(
            "the model has different modules for queries and documents, so a text has no single vector; allowed: a "
            "model with one way from a text to its vector"
        )
    *_, last, _ = modules_of(encoder).values()
    if isinstance(last, Dense) and last.in_features != last.out_features:
        raise ModelError(
            f"the model ends in a Dense from {last.in_features} to {last.out_features} dims; allowed: a model without "
            "one, or with one that keeps the width; rotate the model that it was made from and truncate it afterwards, "
            "or rotate its vectors: mtext rotate --vectors"
        )


def _is_linear(dense: Dense) -> bool:
    return isinstance(dense.activation_function, nn.Identity) and reads_vectors(dense)


def _fold(dense: Dense, matrix: Float64[Tensor, "width width"]) -> None:
    """From y = x W^T + b to y R = x (R^T W)^T + b R."""
    linear = dense.linear
    with torch.no_grad():
        matrix = matrix.to(linear.weight.device)
        linear.weight.copy_((matrix.T @ linear.weight.double()).to(linear.weight.dtype))
        if linear.bias is not None:
            linear.bias.copy_((linear.bias.double() @ matrix).to(linear.bias.dtype))
