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
        rows, vectors = batch.student.shape[1], batch.student
        # Half precision for the products alone, which are summed in float32.
        vectors = vectors if batch.products == torch.float32 else vectors.to(batch.products)
        return nested_cross_entropy(
            vectors[0, batch.first : batch.last],
            # Column by column, so that the positive of anchor i is candidate i.
            vectors[1:].flatten(0, 1),
            torch.arange(batch.first, batch.last, device=batch.student.device),
            dims=nesting.dims,
            weights=nesting.weights,
            scale=1 / self.temperature,
            denominator=rows,
        )
