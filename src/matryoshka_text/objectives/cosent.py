"""Scored pairs by their order: the higher score, the higher cosine."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from matryoshka_text.objectives.base import OWN_BATCH, VectorObjective
from matryoshka_text.section import Real, Whole

if TYPE_CHECKING:
    from matryoshka_text.nested import NestedLoss
    from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["CoSENT"]


class CoSENT(VectorObjective):
    """The order of scored pairs, at every prefix: log(1 + sum of exp over pairs that are ordered wrongly)."""

    reads = "scored"
    layers = True

    kind: Literal["cosent"] = Field(description="picks this objective; needs a scored source")
    temperature: Real = Field(default=0.05, ge=1e-4, description="divides the difference of cosines; no unit")
    batch: Whole | None = Field(default=None, ge=2, description=OWN_BATCH)

    def loss(self, batch: "GlobalBatch", nesting: "Nesting") -> "NestedLoss":
        """This process's share: the global batch's loss, in nats, divided by the number of processes.

        See `nested_cosent`; scores have any unit. The loss is one logarithm of a sum over pairs of rows, so no process
        has rows of its own in it: each forms the whole, which costs n log n, and takes one part in `batch.processes`.
        """
        from matryoshka_text.nested import nested_cosent

        assert batch.values is not None
        return nested_cosent(
            batch.student[0],
            batch.student[1],
            batch.values,
            nesting.dims,
            weights=nesting.weights,
            scale=1 / self.temperature,
            denominator=batch.processes,
        )
