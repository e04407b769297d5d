"""A teacher's full width, poured into every prefix of the student. No labels are needed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.nested import NestedLoss, nested_distillation, nested_pair_error
from matryoshka_text.objectives.batch import GlobalBatch

__all__ = ["Distill"]


class Distill:
    """KL between in-batch similarity distributions, plus squared error on the similarity of the related pairs.

    Every text of the batch is a row. Its teacher cosines to all other texts of the batch, through a softmax, are the
    target of the student's cosines at each prefix; the squared error holds the related pairs' cosines themselves in
    place, which a softmax does not see. `full_width_weight` multiplies the last dim's weight and anchors full width.
    """

    name = "distill"

    def __init__(
        self,
        dims: Sequence[int],
        *,
        weights: Sequence[float] | None,
        temperature: float,
        pair_weight: float,
        full_width_weight: float,
        weight: float = 1.0,
    ) -> None:
        """`temperature` divides both models' cosines; `weights` has one number per dim (None: all 1)."""
        self.dims, self.temperature, self.pair_weight, self.weight = tuple(dims), temperature, pair_weight, weight
        each = list(weights) if weights is not None else [1.0] * len(self.dims)
        self.weights = (*each[:-1], each[-1] * full_width_weight)

    def __call__(self, batch: GlobalBatch) -> NestedLoss:
        """This process's share; `per_dim` is KL (nats) + pair_weight x squared error, unweighted by dim."""
        assert batch.teacher is not None
        columns, rows = batch.student.shape[:2]
        mine = slice(batch.first, batch.last)
        own = torch.arange(rows, device=batch.student.device)[mine]
        spread = nested_distillation(
            batch.student[:, mine].flatten(0, 1),
            batch.student.flatten(0, 1),
            batch.teacher[:, mine].flatten(0, 1),
            batch.teacher.flatten(0, 1),
            self.dims,
            weights=self.weights,
            temperature=self.temperature,
            self_index=torch.cat([own + column * rows for column in range(columns)]),
            denominator=columns * rows,
        )
        if self.pair_weight == 0:
            return spread
        pairs = nested_pair_error(
            batch.student[0, mine],
            batch.student[1, mine],
            _cosine(batch.teacher[0, mine], batch.teacher[1, mine]),
            self.dims,
            weights=self.weights,
            denominator=rows,
        )
        return NestedLoss(
            total=spread.total + self.pair_weight * pairs.total,
            per_dim=spread.per_dim + self.pair_weight * pairs.per_dim,
        )


def _cosine(first: Float[Tensor, "p w"], second: Float[Tensor, "p w"]) -> Float[Tensor, " p"]:
    return torch.nn.functional.cosine_similarity(first, second)
