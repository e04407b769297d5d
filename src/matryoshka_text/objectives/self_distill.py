"""The model's own full width as the teacher of its shorter prefixes."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from matryoshka_text.objectives.base import VectorObjective
from matryoshka_text.objectives.distill import distilled
from matryoshka_text.section import Real

if TYPE_CHECKING:
    from matryoshka_text.nested import NestedLoss
    from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["SelfDistill"]


class SelfDistill(VectorObjective):
    """Every prefix learns the in-batch similarities of the model's own full width, which is not moved by it."""

    reads = "pairs"

    kind: Literal["self_distill"] = Field(
        description="picks this objective; it needs another one that moves full width"
    )
    temperature: Real = Field(default=0.05, ge=1e-4, description="divides the cosine at both lengths; no unit")
    pair_weight: Real = Field(
        default=0.0, ge=0, description="factor of the squared error on the similarity of related pairs (0: KL only)"
    )

    def loss(self, batch: "GlobalBatch", nesting: "Nesting") -> "NestedLoss":
        """This process's share, as of `Distill`; 0, with gradient 0, at full width itself.

        The widest part of a network as the teacher of the narrower ones in the same step is the inplace distillation
        of universally slimmable networks (arXiv:1903.05134). The teacher's side gets no gradient, so that full width
        is not pulled down to what its prefixes can do; another objective of the run trains full width.
        """
        import torch

        from matryoshka_text.nested import NestedLoss
        from matryoshka_text.objectives.batch import Nesting

        student = batch.student
        below = tuple(dim for dim in nesting.dims if dim < student.shape[-1])
        weights = None if nesting.weights is None else nesting.weights[: len(below)]
        if below:
            shorter = Nesting(below, weights)
            part = distilled(
                batch, student.detach(), shorter, temperature=self.temperature, pair_weight=self.pair_weight
            )
        else:  # Sums of nothing: a backward pass finds zeros, and no number of the batch can turn them into NaN.
            dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
            total = student[..., :0].sum().to(dtype)
            total = total if weights is None else total + weights.to(student.device).sum()
            part = NestedLoss(total.to(dtype), total.new_zeros(0))
        rest = part.per_dim.new_zeros(len(nesting.dims) - len(below))
        return NestedLoss(part.total, torch.cat([part.per_dim, rest]))
