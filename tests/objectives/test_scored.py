"""The objectives on scored pairs against loops in float64."""

import math

import pytest
import torch
from torch import Tensor

from matryoshka_text.objectives.batch import GlobalBatch, Nesting
from matryoshka_text.objectives.cosent import CoSENT
from matryoshka_text.objectives.score_distill import ScoreDistill

DIMS = (2, 3, 6)
WEIGHTS = (1.0, 0.5, 4.0)
SCORES = [0.0, 5.0, 2.5, 2.5, 1.0]


@pytest.fixture
def student() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 5, 6, requires_grad=True)


def _cosines(student: Tensor, dim: int) -> list[float]:
    first, second = student.detach().double()
    return [float(a[:dim] @ b[:dim] / a[:dim].norm() / b[:dim].norm()) for a, b in zip(first, second, strict=True)]


def test_cosent_ranks_the_whole_batch(student: Tensor) -> None:
    objective = CoSENT(kind="cosent", temperature=0.1, weight=2.0)
    scores = torch.tensor(SCORES, dtype=torch.float64)
    loss = objective.loss(GlobalBatch(student, None, 0, 5, scores), Nesting(DIMS, torch.tensor(WEIGHTS)))
    expected = []
    for dim in DIMS:
        c = _cosines(student, dim)
        lost = [(c[j] - c[i]) / 0.1 for i in range(5) for j in range(5) if SCORES[i] > SCORES[j]]
        expected.append(math.log(1 + sum(math.exp(x) for x in lost)))
    assert loss.per_dim.tolist() == pytest.approx(expected, rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(
        sum(w * x for w, x in zip(WEIGHTS, expected, strict=True)), rel=1e-5
    )
    share = objective.loss(GlobalBatch(student, None, 2, 4, scores, 3), Nesting(DIMS))
    torch.testing.assert_close(share.per_dim, loss.per_dim / 3)
    assert (objective.kind, objective.weight) == ("cosent", 2.0)


def test_score_distill_maps_the_scale_to_zero_and_one(student: Tensor) -> None:
    objective = ScoreDistill(kind="score_distill", range=(-5.0, 5.0), weight=2.0)
    scores = torch.tensor(SCORES, dtype=torch.float64)
    loss = objective.loss(GlobalBatch(student, None, 1, 4, scores), Nesting(DIMS, torch.tensor(WEIGHTS)))
    expected = []
    for dim in DIMS:
        c = _cosines(student, dim)
        expected.append(sum((c[i] - (SCORES[i] + 5) / 10) ** 2 for i in (1, 2, 3)) / 5)
    assert loss.per_dim.dtype == torch.float32
    assert loss.per_dim.tolist() == pytest.approx(expected, rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(
        sum(w * x for w, x in zip(WEIGHTS, expected, strict=True)), rel=1e-5
    )
    gradient = torch.autograd.grad(loss.total, student)[0]
    assert (gradient[:, [0, 4]] == 0).all()
    assert (gradient[:, 1:4] != 0).any()
    assert (objective.kind, objective.weight) == ("score_distill", 2.0)


def test_whole_numbers_are_scores_too(student: Tensor) -> None:
    whole = torch.tensor([0, 5, 2, 2, 1])
    for objective in (ScoreDistill(kind="score_distill", range=(0.0, 5.0)), CoSENT(kind="cosent", temperature=0.1)):
        ints, floats = (
            objective.loss(GlobalBatch(student, None, 0, 5, scores), Nesting(DIMS))
            for scores in (whole, whole.double())
        )
        assert torch.equal(ints.per_dim, floats.per_dim)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (5.0, 0.0), (math.nan, 1.0)])
def test_a_scale_without_length_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="range"):
        ScoreDistill(kind="score_distill", range=(low, high))
