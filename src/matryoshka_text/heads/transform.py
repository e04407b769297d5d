"""A head transform that keeps prefixes: the first m outputs depend on the first m inputs only."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from matryoshka_text.dims import check_dims

__all__ = ["NestedTransform"]

_EPS = 1e-5
"""Added to the variance. BERT's 1e-12 is too little: two coordinates that GELU both closed have hardly any variance."""


class NestedTransform(nn.Module):
    """Linear, GELU and norm like BERT's head transform, cut so that a shorter one lies inside (arXiv:2409.16627).

    With block k = the coordinates m_{k-1} to m_k:

        a[block k] = gelu(W[block k, :m_k] x[:m_k] + b[block k])
        y[block k] = (a[block k] - mean(a[:m_k])) / sqrt(var(a[:m_k]) + 1e-5) * gain[block k] + offset[block k]

    W is block-lower-triangular, and each block is normalised once, by the (biased) mean and variance of the prefix it
    ends. So y[:m_k] is a function of x[:m_k], and a block's values are the same in every longer prefix: the logits at
    m_{k+1} are those at m_k plus one more block's product. That holds at the prefix lengths `dims`; within a block, a
    coordinate sees the block's whole prefix. Inputs beyond dims[-1] are not read: rows may be wider than `inputs`.
    """

    mask: Tensor

    def __init__(self, inputs: int, dims: Sequence[int], *, seed: int = 0) -> None:
        """`dims[-1]` outputs. W starts as the identity plus noise (std 0.02) in the blocks that are read, from `seed`.

        ValueError if `dims` do not increase strictly, or start with 1: the norm of one number is a constant.
        """
        super().__init__()
        self.inputs, self.dims = inputs, check_dims(dims, dims[-1] if len(dims) else 0)
        if self.dims[0] < 2:
            raise ValueError("dims[0] is 1, and the norm of a single coordinate is a constant; allowed: at least 2")
        outputs = self.dims[-1]
        ends = torch.tensor([end for start, end in self._blocks() for _ in range(start, end)])
        self.register_buffer("mask", (torch.arange(inputs) < ends[:, None]).float(), persistent=False)
        noise = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter((torch.eye(outputs, inputs) + 0.02 * noise) * self.mask)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = nn.Parameter(torch.ones(outputs))
        self.offset = nn.Parameter(torch.zeros(outputs))

    def forward(self, hidden: Float[Tensor, "n h"]) -> Float[Tensor, "n e"]:
        """The transformed rows; all prefixes' norms come from one pass over the activations."""
        active = F.gelu(F.linear(hidden[:, : self.inputs], self.weight * self.mask, self.bias))
        # Sums over a prefix lose too much in half precision, and autocast leaves them in it.
        active = active.to(torch.promote_types(active.dtype, torch.float32))
        mean, inverse = self._statistics(active)
        sizes = [end - start for start, end in self._blocks()]
        pieces = zip(torch.split(active, sizes, 1), mean.unbind(1), inverse.unbind(1), strict=True)
        return torch.cat([(a - m[:, None]) * i[:, None] for a, m, i in pieces], 1) * self.gain + self.offset

    def truncated(self, dim: int) -> "NestedTransform":
        """A copy of the transform for the first `dim` inputs only; its outputs are the first `dim` of this one's.

        ValueError if `dim` is no prefix length of this transform.
        """
        if dim not in self.dims:
            raise ValueError(f"dim is {dim}; allowed are the prefix lengths of this transform, {self.dims}")
        inputs = min(dim, self.inputs)
        small = NestedTransform(inputs, self.dims[: self.dims.index(dim) + 1]).to(self.weight)
        with torch.no_grad():
            small.weight.copy_(self.weight[:dim, :inputs])
            for name in ("bias", "gain", "offset"):
                getattr(small, name).copy_(getattr(self, name)[:dim])
        return small.train(self.training)

    def _blocks(self) -> list[tuple[int, int]]:
        return list(zip((0, *self.dims), self.dims, strict=False))

    def _statistics(self, active: Float[Tensor, "n e"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """The mean and the inverse standard deviation of each prefix, from partial sums over the blocks."""
        # Variance is the same about any centre; about the first block's mean its two sums do not cancel.
        centre = active[:, : self.dims[0]].detach().mean(1, keepdim=True)
        blocks = torch.split(active - centre, [end - start for start, end in self._blocks()], 1)
        lengths = torch.tensor(self.dims, dtype=active.dtype, device=active.device)
        mean = torch.stack([block.sum(1) for block in blocks], 1).cumsum(1) / lengths
        square = torch.stack([block.square().sum(1) for block in blocks], 1).cumsum(1) / lengths
        return mean + centre, (square - mean.square()).clamp_min(0).add(_EPS).rsqrt()
