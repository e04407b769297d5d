"""Prefixes of vectors: the blocks between their lengths, and the lengths of the vectors they cut."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["ZERO", "Columns", "blocks", "inverse_norms", "unit_prefix"]

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
    """1 / |vectors[:, :m]| for each m of `dims`, and 0 if that prefix is shorter than `ZERO`.

    The squared norms of the prefixes are the partial sums of the squared norms of the blocks.
    """
    squares = torch.stack([torch.einsum("bd,bd->b", part, part) for part in (vectors[:, b] for b in blocks(dims))])
    return _inverse_root(squares.cumsum(0))


def unit_prefix(vectors: Float[Tensor, "b d"], dim: int) -> Float[Tensor, "b m"]:
    """The first `dim` columns, each row divided by its length; a row shorter than `ZERO` becomes 0."""
    prefix = vectors[:, :dim]
    return prefix * _inverse_root(prefix.square().sum(1, keepdim=True))


class Columns:
    """The column side of a product that is formed block by block: the vectors, and where their gradient is added up.

    `parts` holds block k as [width, n]. On a CPU thin blocks are copies, as a product with 12 columns out of 384 takes
    up to three times as long as with 12 that lie together.
    """

    THIN = 32

    def __init__(self, vectors: Float[Tensor, "n d"], cuts: list[slice], with_gradient: bool) -> None:
        """`with_gradient` makes room for `gradients`, [width, n] a block."""
        self.vectors = vectors
        self._thin = [vectors.is_cpu and cut.stop - cut.start <= self.THIN for cut in cuts]
        self.parts = self._apart([vectors[:, cut].T for cut in cuts])
        self._gradient = torch.zeros_like(vectors) if with_gradient else None
        self._views = [] if self._gradient is None else [self._gradient[:, cut].T for cut in cuts]
        self.gradients = self._apart(self._views)

    def _apart(self, views: list[Tensor]) -> list[Tensor]:
        return [view.contiguous() if thin else view for view, thin in zip(views, self._thin, strict=False)]

    def add_product(self, rows: Float[Tensor, "r p"], k: int, panel: slice, out: Float[Tensor, "r w"]) -> None:
        """Add `rows @ vectors[panel, block k]` to `out`."""
        part = self.parts[k][:, panel]
        if self._thin[k]:
            out.add_(torch.mm(part, rows.T).T)
        else:
            out.addmm_(rows, part.T)

    def whole_gradient(self) -> Float[Tensor, "n d"] | None:
        """The gradients of the blocks, in one matrix; None if there are none."""
        for view, own, thin in zip(self._views, self.gradients, self._thin, strict=False):
            if thin:
                view.copy_(own)
        return self._gradient
