"""Prefixes of vectors: the blocks between their lengths, and the lengths of the vectors they cut."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["ZERO", "blocks", "inverse_norms", "unit_prefix"]

ZERO = 1e-12
"""A prefix shorter than this counts as a row of zeros: a padded row, whose logits and gradient are 0."""


def blocks(dims: tuple[int, ...]) -> Iterator[slice]:
    """The columns that each prefix adds to the one before."""
    for start, stop in zip((0, *dims), dims, strict=False):
        yield slice(start, stop)


def _inverse_root(squares: Tensor) -> Tensor:
    # The inner `where` keeps the gradient of 1/sqrt(0), which is infinite, from meeting the 0 of the outer one.
    empty = squares < ZERO**2
    return torch.where(empty, 0.0, torch.where(empty, 1.0, squares).rsqrt())


def inverse_norms(vectors: Float[Tensor, "b d"], dims: tuple[int, ...]) -> Float[Tensor, "k b"]:
    """1 / |vectors[:, :m]| for each m of `dims`, and 0 where that prefix is shorter than `ZERO`.

    The squared norms of the prefixes are the partial sums of the squared norms of the blocks.
    """
    squares = torch.stack([torch.einsum("bd,bd->b", part, part) for part in (vectors[:, b] for b in blocks(dims))])
    return _inverse_root(squares.cumsum(0))


def unit_prefix(vectors: Float[Tensor, "b d"], dim: int) -> Float[Tensor, "b m"]:
    """The first `dim` columns, each row divided by its length; a row shorter than `ZERO` becomes 0."""
    prefix = vectors[:, :dim]
    return prefix * _inverse_root(prefix.square().sum(1, keepdim=True))
