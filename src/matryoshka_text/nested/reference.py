"""The definition: one prefix after the other, differentiated by autograd."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, stack

from matryoshka_text.nested.loss import NestedLoss
from matryoshka_text.nested.prefixes import unit_prefix
from matryoshka_text.nested.targets import HardTargets, Reading, SoftTargets, taken_out_value

__all__ = ["reference_cross_entropy", "reference_distillation"]


def _sum_over_dims(losses: list[Tensor], weights: Float[Tensor, " k"], denominator: float) -> NestedLoss:
    per_dim = stack(losses) / denominator
    return NestedLoss((weights * per_dim).sum(), per_dim.detach())


def reference_cross_entropy(
    x: Float[Tensor, "b d"],
    y: Float[Tensor, "n d"],
    weights: Float[Tensor, " k"],
    scale: Float[Tensor, ""],
    bias: Float[Tensor, " n"] | None,
    reading: Reading,
) -> NestedLoss:
    """The loss of nested_cross_entropy, written as its formula; K matrices [b, n] live until backward."""
    targets, losses = reading.targets, []
    assert isinstance(targets, HardTargets)
    gone = targets.tile(slice(0, len(x))).gone
    for dim in reading.dims:
        rows, columns = (unit_prefix(v, dim) if reading.unit else v[:, :dim] for v in (x, y))
        logits = scale * (rows @ columns.T)
        if bias is not None:
            logits = logits + bias
        if gone is not None:
            logits = logits.masked_fill(gone, taken_out_value(logits.dtype))
        losses.append(F.cross_entropy(logits, targets.target, reduction="sum"))
    return _sum_over_dims(losses, weights, reading.denominator)


def reference_distillation(
    x: Float[Tensor, "b d"],
    y: Float[Tensor, "n d"],
    weights: Float[Tensor, " k"],
    scale: Float[Tensor, ""],
    bias: None,
    reading: Reading,
) -> NestedLoss:
    """The loss of nested_distillation, written as its formula."""
    targets = reading.targets
    assert isinstance(targets, SoftTargets)

    def log_shares(logits: Tensor) -> Tensor:
        if targets.self_index is not None:
            logits = logits.scatter(1, targets.self_index[:, None], taken_out_value(logits.dtype))
        return logits.log_softmax(1)

    teacher = log_shares(targets.rows @ targets.columns.T)
    losses = []
    for dim in reading.dims:
        student = log_shares(scale * (unit_prefix(x, dim) @ unit_prefix(y, dim).T))
        losses.append((teacher.exp() * (teacher - student)).sum())
    return _sum_over_dims(losses, weights, reading.denominator)
