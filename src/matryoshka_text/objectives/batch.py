"""A global batch of vectors, as every process sees it."""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from matryoshka_text.nested import NestedLoss

__all__ = ["GlobalBatch", "Objective"]


@dataclass(frozen=True)
class GlobalBatch:
    """Vectors of the whole batch [columns, rows, width]: anchors, positives, then the negatives, column by column.

    `first` to `last` are the rows this process answers for. An objective gives its own rows' share of the global
    loss, so that the shares of all processes add up to it; `width` is full, and prefixes are cut after gathering.
    """

    student: Float[Tensor, "columns rows width"]
    teacher: Float[Tensor, "columns rows teacher_width"] | None
    first: int
    last: int


class Objective(Protocol):
    """Anything that turns a batch into a nested loss."""

    name: str
    weight: float

    def __call__(self, batch: GlobalBatch) -> NestedLoss:
        """This process's share of the global loss: total with gradient, per dim without."""
