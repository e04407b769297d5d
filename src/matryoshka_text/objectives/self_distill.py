"""The model's own full width as the teacher of its shorter prefixes."""

import torch

from matryoshka_text.nested import NestedLoss
from matryoshka_text.objectives.batch import GlobalBatch, Nesting
from matryoshka_text.objectives.distill import distilled

__all__ = ["SelfDistill"]


class SelfDistill:
    """The losses of `Distill` with the student's own full width as the teacher, for the prefixes below full width.

    The widest part of a network as the teacher of the narrower ones in the same step is the inplace distillation of
    universally slimmable networks (arXiv:1903.05134). The teacher's side gets no gradient, so that full width is not
    pulled down to what its prefixes can do; what trains full width is another objective of the run.
    """

    name = "self_distill"

    def __init__(self, *, temperature: float, pair_weight: float, weight: float = 1.0) -> None:
        """`temperature` divides the cosines on both sides."""
        self.temperature, self.pair_weight, self.weight = temperature, pair_weight, weight

    def __call__(self, batch: GlobalBatch, nesting: Nesting) -> NestedLoss:
        """This process's share, as of `Distill`; 0, with gradient 0, at full width itself."""
        student = batch.student
        below = tuple(dim for dim in nesting.dims if dim < student.shape[-1])
        weights = None if nesting.weights is None else nesting.weights[: len(below)]
        if below:
            part = distilled(batch, student.detach(), Nesting(below, weights), self.temperature, self.pair_weight)
        else:  # Sums of nothing: a backward pass finds zeros, and no number of the batch can turn them into NaN.
            dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
            total = student[..., :0].sum().to(dtype)
            total = total if weights is None else total + weights.to(student.device).sum()
            part = NestedLoss(total.to(dtype), total.new_zeros(0))
        rest = part.per_dim.new_zeros(len(nesting.dims) - len(below))
        return NestedLoss(part.total, torch.cat([part.per_dim, rest]))
