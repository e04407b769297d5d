"""InfoNCE over every prefix: the batch's other texts are the negatives."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from matryoshka_text.objectives.base import VectorObjective
from matryoshka_text.section import Real

if TYPE_CHECKING:
    from matryoshka_text.nested import NestedLoss
    from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["InfoNCE"]


class InfoNCE(VectorObjective):
    """In-batch contrastive loss (InfoNCE, hard negatives included), summed over the dims."""

    reads = "pairs"
    layers = True

    kind: Literal["info_nce"] = Field(description="picks this objective; needs pairs, triplets, nli or mined texts")
    temperature: Real = Field(default=0.05, ge=1e-4, description="divides the cosine; no unit")

    def loss(self, batch: "GlobalBatch", nesting: "Nesting") -> "NestedLoss":
        """This process's share: its own anchors against every candidate. In nats, mean over the global batch.

        Cross-entropy of finding an anchor's own positive among all positives and negatives of the global batch:
        InfoNCE (arXiv:1807.03748, eq. 4) on unit-length prefixes, summed over the dims (arXiv:2205.13147, eq. 1).
        """
        import torch

        from matryoshka_text.nested import nested_cross_entropy

        rows, vectors = batch.student.shape[1], batch.student
        # Only the products are in half precision; they are summed in float32.
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
