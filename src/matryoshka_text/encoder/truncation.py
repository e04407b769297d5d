"""A closing Dense that gives the first coordinates only."""

import torch
from torch import nn

from matryoshka_text.encoder.compat import (
    Dense,
    SentenceTransformer,
    modules_of,
    put_before_last,
    reads_vectors,
    replace_module,
)

__all__ = ["narrow"]

# Applied to each coordinate by itself, so that a prefix of their input gives the prefix of their output.
_ELEMENTWISE = (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)


def narrow(encoder: SentenceTransformer, dim: int) -> None:
    """Let `encoder` give the first `dim` coordinates of what it gave: in place, before its closing Normalize.

    A Dense that stands there already is cut to `dim` rows if it can be; otherwise rows of the identity follow it.
    """
    *_, (name, last), _ = modules_of(encoder).items()
    if isinstance(last, Dense) and isinstance(last.activation_function, _ELEMENTWISE) and reads_vectors(last):
        replace_module(encoder, name, _first_rows(last, dim))
        return
    width = encoder.get_embedding_dimension()
    first = torch.eye(dim, width, device=encoder.device, dtype=encoder.dtype)
    put_before_last(encoder, Dense(width, dim, bias=False, activation_function=nn.Identity(), init_weight=first))


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
