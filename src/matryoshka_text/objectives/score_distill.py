"""Scored pairs by their value: the score is what the cosine should be."""

import torch

from matryoshka_text.nested import NestedLoss, nested_pair_error
from matryoshka_text.nested.loss import Number
from matryoshka_text.objectives.batch import GlobalBatch, Nesting

__all__ = ["ScoreDistill"]


class ScoreDistill:
    """Squared error between each pair's cosine and its score, at every prefix, with [low, high] mapped to [0, 1].

    Regression on the cosine is Sentence-BERT's objective for scored pairs (arXiv:1908.10084, section 3). Unrelated
    texts have cosines near 0, not -1, so a scale of relatedness ends there: STS's 0 to 5 become 0 to 1, the range that
    sentence-transformers' `CosineSimilarityLoss` asks for. A teacher's cosines, given with [0, 1], are left alone.
    """

    name = "score_distill"

    def __init__(self, *, low: Number, high: Number, weight: Number = 1.0) -> None:
        """`low` and `high` are the ends of the scale on which the scores were given."""
        if not low < high:
            raise ValueError(f"low is {low} and high is {high}; allowed is a low end below the high one")
        self.low, self.high, self.weight = low, high, weight

    def __call__(self, batch: GlobalBatch, nesting: Nesting) -> NestedLoss:
        """This process's share: the squared errors of its own pairs, divided by the pairs of the global batch."""
        assert batch.values is not None
        mine = slice(batch.first, batch.last)
        target = (batch.values[mine].double() - self.low) / (self.high - self.low)
        return nested_pair_error(
            batch.student[0, mine],
            batch.student[1, mine],
            # Scores come in float64, which would make the whole loss float64.
            target.to(torch.promote_types(batch.student.dtype, torch.float32)),
            nesting.dims,
            weights=nesting.weights,
            denominator=batch.student.shape[1],
        )
