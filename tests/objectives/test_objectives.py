"""Both objectives against loops in float64, and the shares of several processes against the whole."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from matryoshka_text.nested import NestedLoss
from matryoshka_text.objectives import Distill, GlobalBatch, InfoNCE

DIMS = (2, 5, 8)
WEIGHTS = (1.0, 0.5, 2.0)


@pytest.fixture
def vectors() -> tuple[Tensor, Tensor]:
    """Three columns (anchor, positive, negative) of six rows; the teacher is wider."""
    torch.manual_seed(0)
    return torch.randn(3, 6, 8, dtype=torch.float64), torch.randn(3, 6, 11, dtype=torch.float64)


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def _cross_entropy(student: Tensor, dim: int) -> float:
    candidates = [*student[1], *student[2]]
    total = 0.0
    for i, anchor in enumerate(student[0]):
        logits = [_cosine(anchor[:dim], c[:dim]) / 0.1 for c in candidates]
        total += math.log(sum(math.exp(x) for x in logits)) - logits[i]
    return total / 6


def _distilled(student: Tensor, teacher: Tensor, dim: int, pair_weight: float) -> float:
    own, taught = [*student.flatten(0, 1)], [*teacher.flatten(0, 1)]
    divergence = 0.0
    for i in range(18):
        others = [j for j in range(18) if j != i]
        p = torch.tensor([_cosine(taught[i], taught[j]) / 0.1 for j in others]).double().softmax(0)
        q = torch.tensor([_cosine(own[i][:dim], own[j][:dim]) / 0.1 for j in others]).double().softmax(0)
        divergence += sum(float(a * (a.log() - b.log())) for a, b in zip(p, q, strict=True))
    error = sum((_cosine(own[i][:dim], own[6 + i][:dim]) - _cosine(taught[i], taught[6 + i])) ** 2 for i in range(6))
    return divergence / 18 + pair_weight * error / 6


def test_info_nce_is_its_definition(vectors: tuple[Tensor, Tensor]) -> None:
    student, _ = vectors
    loss = InfoNCE(DIMS, weights=WEIGHTS, temperature=0.1)(GlobalBatch(student, None, 0, 6))
    expected = [_cross_entropy(student, dim) for dim in DIMS]
    assert loss.per_dim.tolist() == pytest.approx(expected, rel=1e-9)
    assert float(loss.total) == pytest.approx(sum(w * x for w, x in zip(WEIGHTS, expected, strict=True)), rel=1e-9)


@pytest.mark.parametrize("pair_weight", [0.0, 7.0])
def test_distill_is_its_definition(vectors: tuple[Tensor, Tensor], pair_weight: float) -> None:
    student, teacher = vectors
    objective = Distill(DIMS, weights=WEIGHTS, temperature=0.1, pair_weight=pair_weight, full_width_weight=3.0)
    loss = objective(GlobalBatch(student, teacher, 0, 6))
    expected = [_distilled(student, teacher, dim, pair_weight) for dim in DIMS]
    assert loss.per_dim.tolist() == pytest.approx(expected, rel=1e-6)
    weights = (1.0, 0.5, 6.0)  # the last one times full_width_weight
    assert float(loss.total) == pytest.approx(sum(w * x for w, x in zip(weights, expected, strict=True)), rel=1e-6)


@pytest.mark.parametrize(
    "objective",
    [
        InfoNCE(DIMS, weights=WEIGHTS, temperature=0.1),
        Distill(DIMS, weights=None, temperature=0.1, pair_weight=7.0, full_width_weight=3.0),
    ],
    ids=["info_nce", "distill"],
)
def test_the_shares_of_all_processes_add_up(
    vectors: tuple[Tensor, Tensor], objective: Callable[[GlobalBatch], NestedLoss]
) -> None:
    student, teacher = vectors

    def gradient(cuts: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        leaf = student.clone().requires_grad_()
        parts = [objective(GlobalBatch(leaf, teacher, first, last)) for first, last in cuts]
        total = torch.stack([part.total for part in parts]).sum()
        total.backward()
        assert leaf.grad is not None
        return total.detach(), torch.stack([part.per_dim for part in parts]).sum(0), leaf.grad

    for whole, shared in zip(gradient([(0, 6)]), gradient([(0, 2), (2, 4), (4, 6)]), strict=True):
        torch.testing.assert_close(shared, whole, rtol=1e-9, atol=1e-12)
