"""Labelled texts: a head over the prefixes names the class."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from matryoshka_text.nested import NestedLoss
from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["Classifier", "Classify"]


@runtime_checkable
class Classifier(Protocol):
    """A head that compares vectors with classes at the prefixes of a nesting."""

    def loss(
        self, rows: Float[Tensor, "b width"], target: Int[Tensor, " b"], nesting: Nesting, denominator: int
    ) -> NestedLoss:
        """Cross-entropy in nats, summed over the rows and divided by `denominator`."""


class Classify:
    """Cross-entropy of a text's class at every prefix of its vector, through `head` (arXiv:2205.13147, equation 1)."""

    name = "classify"

    def __init__(self, head: Classifier, *, weight: float = 1.0) -> None:
        """`head` holds the classes and is trained along."""
        self.head, self.weight = head, weight

    def __call__(self, batch: GlobalBatch, nesting: Nesting) -> NestedLoss:
        """This process's share: the cross-entropy of its own rows, in nats, divided by the rows of the global batch."""
        assert batch.values is not None
        mine = slice(batch.first, batch.last)
        return self.head.loss(batch.student[0, mine], batch.values[mine], nesting, batch.student.shape[1])
