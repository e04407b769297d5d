"""What a loss reads: a global batch of vectors, or masked tokens, and the prefixes of the step."""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from matryoshka_text.nested import NestedLoss

__all__ = ["ClassifierHead", "GlobalBatch", "MaskedBatch", "Nesting"]


@dataclass(frozen=True)
class Nesting:
    """The prefix lengths of one step, ascending, and their factors in the sum (None: all 1; may carry gradient)."""

    dims: tuple[int, ...]
    weights: Float[Tensor, " k"] | None = None

    def scaled_last(self, factor: float) -> "Nesting":
        """The same lengths with the last one's weight times `factor`."""
        weights = torch.ones(len(self.dims)) if self.weights is None else self.weights
        scale = torch.ones_like(weights)
        scale[-1] = factor
        return Nesting(self.dims, weights * scale)


class ClassifierHead(Protocol):
    """A head that compares vectors with classes at the prefixes of a nesting."""

    def loss(
        self, rows: Float[Tensor, "b width"], target: Int[Tensor, " b"], nesting: Nesting, denominator: int
    ) -> NestedLoss:
        """Cross-entropy in nats, summed over the rows and divided by `denominator`."""


@dataclass(frozen=True)
class GlobalBatch:
    """Vectors of the whole batch [columns, rows, width]: anchors, positives, then the negatives, column by column.

    `values` is what else is known of each row: the index of its class (int64), or the score of its pair (float).
    `first` to `last` are the rows this process answers for, one of `processes`. An objective gives its own rows' share
    of the global loss, so that the shares of all processes add up to it; `width` is full, and prefixes are cut after
    gathering. `products` is the type in which a GPU multiplies large matrices of vectors. `head` names the classes of
    labelled texts; other streams have none.
    """

    student: Float[Tensor, "columns rows width"]
    teacher: Float[Tensor, "columns rows teacher_width"] | None
    first: int
    last: int
    values: Shaped[Tensor, " rows"] | None = None
    processes: int = 1
    products: torch.dtype = torch.float32
    head: ClassifierHead | None = None


@dataclass(frozen=True)
class MaskedBatch:
    """Masked tokens: what the vocabulary matrix is multiplied with, the matrix, the decoder's bias, the words' ids.

    `denominator` counts the masked tokens of the whole global batch.
    """

    rows: Float[Tensor, "tokens width"]
    matrix: Float[Tensor, "words width"]
    bias: Float[Tensor, " words"]
    target: Int[Tensor, " tokens"]
    denominator: float
