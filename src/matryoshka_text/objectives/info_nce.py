"""InfoNCE over every prefix: the batch's other texts are the negatives."""

import torch

from matryoshka_text.nested import NestedLoss, nested_cross_entropy
from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["InfoNCE"]


class InfoNCE:
    """Cross-entropy of finding an anchor's own positive among all positives and negatives of the global batch.

    InfoNCE (arXiv:1807.03748, eq. 4) on unit-length prefixes, summed over the dims (arXiv:2205.13147, eq. 1).
    """

    name = "info_nce"

    def __init__(self, *, temperature: float, weight: float = 1.0) -> None:
        """`temperature` divides the cosine."""
        self.temperature, self.weight = temperature, weight

    def __call__(self, batch: GlobalBatch, nesting: Nesting) -> NestedLoss:
        """This process's share: its own anchors against every candidate. In nats, mean over the global batch."""
        rows = batch.student.shape[1]
        return nested_cross_entropy(
            batch.student[0, batch.first : batch.last],
            # Column by column, so that the positive of anchor i is candidate i.
            batch.student[1:].flatten(0, 1),
            torch.arange(batch.first, batch.last, device=batch.student.device),
            dims=nesting.dims,
            weights=nesting.weights,
            scale=1 / self.temperature,
            denominator=rows,
        )
