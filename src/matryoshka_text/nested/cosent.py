"""The ranking objective for scored pairs: the higher score gets the higher cosine, at every prefix length."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from matryoshka_text.dims import check_dims
from matryoshka_text.nested.checks import (
    check_denominator,
    check_scale,
    check_shape,
    check_vectors,
    check_weights,
    computing_dtype,
)
from matryoshka_text.nested.loss import NestedLoss, Number
from matryoshka_text.nested.pair_error import pair_cosines

__all__ = ["nested_cosent"]


def nested_cosent(
    first: Float[Tensor, "n d"],
    second: Float[Tensor, "n d"],
    scores: Shaped[Tensor, " n"],
    dims: Sequence[int],
    *,
    weights: Sequence[Number] | Float[Tensor, " k"] | None = None,
    scale: Number | Float[Tensor, "..."] = 20.0,
    denominator: Number | Tensor | None = None,
) -> NestedLoss:
    """CoSENT in nats at every prefix of `dims`: no pair should have a higher cosine than a pair of higher score.

    Equal, for each dim m, with c_i = cos(first[i, :m], second[i, :m]), to

        per_dim = log(1 + sum over ordered (i, j) with scores[i] > scores[j] of exp(scale * (c_j - c_i))) / denominator
        total   = sum_m weights[m] * per_dim[m]

    CoSENT (Su 2022, https://kexue.fm/archives/8847; Huang et al. 2024, doi:10.1109/TASLP.2024.3402087) read at nested
    lengths. Only the order of `scores` counts; equal scores make no comparison. The cosines of all prefixes are partial
    sums over blocks, and the sum over comparisons is taken from sorted scores with running log-sum-exps: n log n work
    and K * n numbers, never [n, n].

    The loss is one logarithm of a whole batch, no sum over rows: `denominator` is 1 where None, and shares of parts of
    a batch do not add up to the whole. weights and scale may be tensors with gradient; no gradient reaches `scores`.
    A prefix shorter than 1e-12 has cosine 0 and gets no gradient. No comparison at all gives 0, with gradient 0.
    ValueError for a score that is NaN. Can be differentiated once.
    """
    device = first.device
    check_vectors("first", first, (None, None), device)
    check_vectors("second", second, tuple(first.shape), device)
    _check_scores(scores, len(first), device)
    dims = check_dims(dims, first.shape[1])
    dtype = computing_dtype(first, second)
    each = check_weights(weights, len(dims), dtype, device)
    factor = check_scale("scale", scale, dtype, device)
    divisor = check_denominator(1.0 if denominator is None else denominator, len(first))
    ordered, order = (scores.byte() if scores.dtype == torch.bool else scores.detach()).sort()
    below = torch.searchsorted(ordered, ordered)
    above = torch.searchsorted(ordered, ordered, right=True)
    with torch.autocast(device.type, enabled=False):
        cosines = pair_cosines(first.to(dtype), second.to(dtype), dims)
        logits = factor * cosines[:, order]
        per_dim = _Ranking.apply(logits, below, above) / divisor  # type: ignore[no-untyped-call]
    return NestedLoss((each * per_dim).sum(), per_dim.detach())


class _Ranking(torch.autograd.Function):
    """log(1 + sum_{i above j} exp(z_j - z_i)) of each row of logits that are sorted by score.

    The gradient in z_p is the share of the comparisons that p loses less the share of those that it wins, both from
    running log-sum-exps of the same kind as the value's. Written by hand because autograd's way back through the
    gather of tied places adds in no fixed order on a GPU.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Float[Tensor, "k n"], below: Int[Tensor, " n"], above: Int[Tensor, " n"]
    ) -> Float[Tensor, " k"]:
        """`below` counts the places with a lower score than each place; from `above` on the scores are higher."""
        # A running log-sum-exp of thousands in float32 loses three digits; [k, n] in float64 costs nothing.
        z = logits if logits.device.type == "mps" else logits.double()
        edge = z.new_full((len(z), 1), -torch.inf)
        higher = torch.cat([(-z).flip(1).logcumsumexp(1).flip(1), edge], 1)[:, above]
        lower = torch.cat([edge, z.logcumsumexp(1)], 1)[:, below]
        losses = torch.cat([torch.zeros_like(edge), z + higher], 1).logsumexp(1)
        gradient = (z + higher - losses[:, None]).exp() - (lower - z - losses[:, None]).exp()
        ctx.save_for_backward(gradient.to(logits.dtype))
        return losses.to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, incoming: Float[Tensor, " k"]) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError("nested_cosent can be differentiated once; backward was called with create_graph=True")
        (gradient,) = ctx.saved_tensors
        return incoming[:, None] * gradient, None, None


def _check_scores(scores: Tensor, rows: int, device: torch.device) -> None:
    check_shape("scores", scores, (rows,), device)
    if scores.is_complex():
        raise ValueError(f"scores holds {scores.dtype}; allowed are real numbers")
    if scores.is_floating_point() and bool((missing := scores.isnan()).any()):
        raise ValueError(f"scores[{int(missing.nonzero()[0])}] is nan; allowed are numbers that can be put in order")
