"""Scored pairs by their value: the score is what the cosine should be."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from matryoshka_text.objectives.base import OWN_BATCH, VectorObjective
from matryoshka_text.section import Fault, Real, Whole

if TYPE_CHECKING:
    from matryoshka_text.nested import NestedLoss
    from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["ScoreDistill"]


class ScoreDistill(VectorObjective):
    """A teacher's scores of pairs, learnt by every prefix's cosine: squared error."""

    reads = "scored"
    layers = True

    kind: Literal["score_distill"] = Field(description="picks this objective; needs a scored source")
    range: tuple[Real, Real] = Field(
        default=(0.0, 1.0),
        description="the scores that mean unrelated (cosine 0) and equal (cosine 1)",
        json_schema_extra={"allowed": "a list of 2 numbers, the lower first"},
    )
    batch: Whole | None = Field(default=None, ge=1, description=OWN_BATCH)

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The fault of a range whose ends are not in order."""
        limits = found.get("range")
        if limits and all(isinstance(limit, int | float) for limit in limits) and limits[0] >= limits[1]:
            yield (
                ("range",),
                f"found {list(limits)}; allowed: a lower and a higher score; write [0, 5] for scores from 0 to 5",
            )

    def loss(self, batch: "GlobalBatch", nesting: "Nesting") -> "NestedLoss":
        """This process's share: the squared errors of its own pairs, divided by the pairs of the global batch.

        `range` is mapped to [0, 1]. Regression on the cosine is Sentence-BERT's objective for scored pairs
        (arXiv:1908.10084, section 3). Unrelated texts have cosines near 0, not -1, so a scale of relatedness ends
        there: STS's 0 to 5 become 0 to 1, the range that sentence-transformers' `CosineSimilarityLoss` asks for.
        """
        import torch

        from matryoshka_text.nested import nested_pair_error

        assert batch.values is not None
        low, high = self.range
        mine = slice(batch.first, batch.last)
        target = (batch.values[mine].double() - low) / (high - low)
        return nested_pair_error(
            batch.student[0, mine],
            batch.student[1, mine],
            # Scores come in float64, which would make the whole loss float64.
            target.to(torch.promote_types(batch.student.dtype, torch.float32)),
            nesting.dims,
            weights=nesting.weights,
            denominator=batch.student.shape[1],
        )
