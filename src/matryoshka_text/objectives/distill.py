"""A teacher's full width, poured into every prefix of the student. No labels are needed."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from matryoshka_text.objectives.base import VectorObjective
from matryoshka_text.section import Fault, Flag, Real

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from matryoshka_text.nested import NestedLoss
    from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["Distill", "distilled"]


class Distill(VectorObjective):
    """Every prefix learns the teacher's in-batch similarities: KL divergence plus squared error on the pairs."""

    reads = "pairs"
    layers = True

    kind: Literal["distill"] = Field(description="picks this objective; any related texts will do")
    teacher: str | None = Field(
        default=None, min_length=1, description="a folder or hub id (null: a frozen copy of the base, at full width)"
    )
    teacher_prompts: dict[str, str] = Field(
        default={},
        description="the teacher's prompts by name, as base.prompts are the base's; its vectors are made with its own",
        json_schema_extra={"allowed": "a mapping from names to texts"},
    )
    teacher_trust_remote_code: Flag = Field(
        default=False, description="run Python code that the teacher's checkpoint brings along"
    )
    vectors: Flag = Field(
        default=False, description="take the teacher's vectors from the sources' own `vectors` files; excludes teacher"
    )
    temperature: Real = Field(default=0.05, ge=1e-4, description="divides the cosine of teacher and student; no unit")
    pair_weight: Real = Field(
        default=50.0, ge=0, description="factor of the squared error on the similarity of related pairs (0: KL only)"
    )
    vector_weight: Real = Field(
        default=0.0,
        ge=0,
        description="factor of the squared distance between the unit prefixes of student and teacher, at every dim "
        "that the teacher has; meant for a rotated teacher (0: none)",
    )
    full_width_weight: Real = Field(
        default=3.0, gt=0, description="extra factor of the largest dim, which anchors full width"
    )

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The faults of two teachers, and of prompts of none."""
        if found.get("teacher_prompts") and "teacher" in found and found["teacher"] is None:
            yield (
                ("teacher_prompts",),
                "found prompts without a teacher; allowed: next to `teacher`, since a copy of the base has the base's; "
                "name a teacher, or write base.prompts",
            )
        if found.get("teacher_trust_remote_code") is True and "teacher" in found and found["teacher"] is None:
            yield (
                ("teacher_trust_remote_code",),
                "found true without a teacher; allowed: next to `teacher`; a copy of the base asks for "
                "base.trust_remote_code",
            )
        if found.get("vectors") is True and found.get("teacher") is not None:
            yield ("vectors",), "found true together with a teacher; allowed: one of the two; remove one"

    def loss(self, batch: "GlobalBatch", nesting: "Nesting") -> "NestedLoss":
        """This process's share; `per_dim`, unweighted by dim, is KL (nats) + pair_weight x squared error of the pairs
        + vector_weight x squared error of the vectors.

        `full_width_weight` multiplies the weight of full width, if the step reads it, and anchors it there.
        """
        assert batch.teacher is not None
        if nesting.dims[-1] == batch.student.shape[-1]:
            nesting = nesting.scaled_last(self.full_width_weight)
        loss = distilled(batch, batch.teacher, nesting, temperature=self.temperature, pair_weight=self.pair_weight)
        return _with_vectors(loss, batch, nesting, self.vector_weight)


def distilled(
    batch: "GlobalBatch",
    teacher: "Float[Tensor, 'columns rows teacher_width']",
    nesting: "Nesting",
    *,
    temperature: float,
    pair_weight: float,
) -> "NestedLoss":
    """This process's share of KL between in-batch similarity distributions, plus squared error on the related pairs.

    Every text of the batch is a row. Its `teacher` cosines to all other texts of the batch, through a softmax, are the
    target of the student's cosines at each prefix; the squared error holds the related pairs' cosines themselves in
    place, which a softmax does not see. `teacher` gets no gradient.
    """
    import torch

    from matryoshka_text.nested import NestedLoss, nested_distillation, nested_pair_error

    columns, rows = batch.student.shape[:2]
    mine = slice(batch.first, batch.last)
    own = torch.arange(rows, device=batch.student.device)[mine]
    spread = nested_distillation(
        batch.student[:, mine].flatten(0, 1),
        batch.student.flatten(0, 1),
        teacher[:, mine].flatten(0, 1),
        teacher_columns=teacher.flatten(0, 1),
        dims=nesting.dims,
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


def _with_vectors(loss: "NestedLoss", batch: "GlobalBatch", nesting: "Nesting", factor: float) -> "NestedLoss":
    """`loss` with `factor` times the squared distance of all texts' unit prefixes, at the dims that the teacher has."""
    from matryoshka_text.nested import NestedLoss, nested_vector_error

    teacher = batch.teacher
    assert teacher is not None
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
