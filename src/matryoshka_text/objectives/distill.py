"""A teacher's full width, poured into every prefix of the student. No labels are needed."""

import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.nested import NestedLoss, nested_distillation, nested_pair_error, nested_vector_error
from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["Distill", "distilled"]


class Distill:
    """KL between in-batch similarity distributions, plus squared error on the similarity of the related pairs.

    Every text of the batch is a row. Its teacher cosines to all other texts of the batch, through a softmax, are the
    target of the student's cosines at each prefix; the squared error holds the related pairs' cosines themselves in
    place, which a softmax does not see. `vector_weight` adds the squared distance of each text's unit prefix to the
    teacher's prefix of the same length, as far as the teacher is that long. `full_width_weight` multiplies the weight
    of full width, where a step reads it, and anchors it there.
    """

    name = "distill"

    def __init__(
        self,
        *,
        temperature: float,
        pair_weight: float,
        full_width_weight: float,
        vector_weight: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        """`temperature` divides both models' cosines."""
        self.temperature, self.pair_weight, self.vector_weight = temperature, pair_weight, vector_weight
        self.full_width_weight, self.weight = full_width_weight, weight

    def __call__(self, batch: GlobalBatch, nesting: Nesting) -> NestedLoss:
        """This process's share; `per_dim`, unweighted by dim, is KL (nats) + pair_weight x squared error of the pairs
        + vector_weight x squared error of the vectors.
        """
        assert batch.teacher is not None
        if nesting.dims[-1] == batch.student.shape[-1]:
            nesting = nesting.scaled_last(self.full_width_weight)
        loss = distilled(batch, batch.teacher, nesting, self.temperature, self.pair_weight)
        return _with_vectors(loss, batch, batch.teacher, nesting, self.vector_weight)


def distilled(
    batch: GlobalBatch,
    teacher: Float[Tensor, "columns rows teacher_width"],
    nesting: Nesting,
    temperature: float,
    pair_weight: float,
) -> NestedLoss:
    """This process's share of the two losses of `Distill` against `teacher`, which gets no gradient."""
    columns, rows = batch.student.shape[:2]
    mine = slice(batch.first, batch.last)
    own = torch.arange(rows, device=batch.student.device)[mine]
    spread = nested_distillation(
        batch.student[:, mine].flatten(0, 1),
        batch.student.flatten(0, 1),
        teacher[:, mine].flatten(0, 1),
        teacher.flatten(0, 1),
        nesting.dims,
        weights=nesting.weights,
        temperature=temperature,
        self_index=torch.cat([own + column * rows for column in range(columns)]),
        denominator=columns * rows,
    )
    if pair_weight == 0:
        return spread
    taught = teacher[:2, mine].to(torch.promote_types(teacher.dtype, torch.float32))
    pairs = nested_pair_error(
        batch.student[0, mine],
        batch.student[1, mine],
        torch.nn.functional.cosine_similarity(taught[0], taught[1]),
        nesting.dims,
        weights=nesting.weights,
        denominator=rows,
    )
    return NestedLoss(spread.total + pair_weight * pairs.total, spread.per_dim + pair_weight * pairs.per_dim)


def _with_vectors(
    loss: NestedLoss,
    batch: GlobalBatch,
    teacher: Float[Tensor, "columns rows teacher_width"],
    nesting: Nesting,
    factor: float,
) -> NestedLoss:
    """`loss` with `factor` times the squared error of all texts' vectors, at the dims that the teacher has."""
    dims = [dim for dim in nesting.dims if dim <= teacher.shape[-1]]
    if factor == 0 or not dims:
        return loss
    columns, rows = batch.student.shape[:2]
    mine = slice(batch.first, batch.last)
    added = nested_vector_error(
        batch.student[:, mine].flatten(0, 1),
        teacher[:, mine].flatten(0, 1),
        dims,
        weights=None if nesting.weights is None else nesting.weights[: len(dims)],
        denominator=columns * rows,
    )
    per_dim = loss.per_dim.clone()
    per_dim[: len(dims)] += factor * added.per_dim
    return NestedLoss(loss.total + factor * added.total, per_dim)
