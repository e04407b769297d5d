"""Scored pairs by their order: the higher score, the higher cosine."""

from matryoshka_text.nested import NestedLoss, nested_cosent
from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["CoSENT"]


class CoSENT:
    """CoSENT over the scored pairs of the global batch, at every prefix (see `nested_cosent`); scores in any unit.

    The loss is one logarithm of a sum over pairs of rows, so that no process has rows of its own in it: each forms the
    whole, which costs n log n, and answers for one part in `batch.processes` of it.
    """

    name = "cosent"

    def __init__(self, *, temperature: float, weight: float = 1.0) -> None:
        """`temperature` divides the cosines."""
        self.temperature, self.weight = temperature, weight

    def __call__(self, batch: GlobalBatch, nesting: Nesting) -> NestedLoss:
        """This process's share: the global batch's loss, in nats, divided by the number of processes."""
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
