"""Self-distillation against a loop in float64 whose teacher is a copy without gradient."""

import pytest
import torch
from torch import Tensor

from matryoshka_text.objectives.batch import GlobalBatch, Nesting
from matryoshka_text.objectives.self_distill import SelfDistill

SELF = SelfDistill(kind="self_distill", temperature=0.2, pair_weight=5.0)


@pytest.fixture
def student() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a @ a).sqrt() / (b @ b).sqrt()


def _expected(student: Tensor, dim: int, pair_weight: float) -> Tensor:
    own, taught = [*student.flatten(0, 1)], [*student.detach().clone().flatten(0, 1)]
    divergence = torch.zeros((), dtype=torch.float64)
    for i in range(12):
        others = [j for j in range(12) if j != i]
        teacher = torch.stack([_cosine(taught[i], taught[j]) for j in others]).div(0.2).log_softmax(0)
        pupil = torch.stack([_cosine(own[i][:dim], own[j][:dim]) for j in others]).div(0.2).log_softmax(0)
        divergence = divergence + (teacher.exp() * (teacher - pupil)).sum()
    errors = [(_cosine(own[i][:dim], own[4 + i][:dim]) - _cosine(taught[i], taught[4 + i])) ** 2 for i in range(4)]
    return divergence / 12 + pair_weight * torch.stack(errors).sum() / 4


@pytest.mark.parametrize("pair_weight", [0.0, 5.0])
@pytest.mark.parametrize("dims", [(2, 3, 6), (2, 3)], ids=["with full width", "without"])
def test_it_is_its_definition(student: Tensor, pair_weight: float, dims: tuple[int, ...]) -> None:
    weights = torch.tensor([1.0, 0.5, 4.0], dtype=torch.float64)[: len(dims)].requires_grad_()
    objective = SelfDistill(kind="self_distill", temperature=0.2, pair_weight=pair_weight, weight=2.0)
    loss = objective.loss(GlobalBatch(student, None, 0, 4), Nesting(dims, weights))
    each = [_expected(student, dim, pair_weight) for dim in (2, 3)]
    expected = each[0] + 0.5 * each[1]
    assert loss.per_dim.tolist() == pytest.approx([*(float(x.detach()) for x in each), 0.0][: len(dims)], rel=1e-9)
    torch.testing.assert_close(loss.total.detach(), expected.detach(), rtol=1e-9, atol=0)
    ours = torch.autograd.grad(loss.total, (student, weights))
    torch.testing.assert_close(ours[0], torch.autograd.grad(expected, student)[0], rtol=1e-8, atol=1e-12)
    assert ours[1].tolist() == pytest.approx(loss.per_dim.tolist(), rel=1e-9)
    assert (objective.kind, objective.weight) == ("self_distill", 2.0)


def test_the_columns_that_only_full_width_has_get_no_gradient(student: Tensor) -> None:
    loss = SELF.loss(GlobalBatch(student, None, 0, 4), Nesting((2, 3, 6)))
    gradient = torch.autograd.grad(loss.total, student)[0]
    assert (gradient[..., 3:] == 0).all()
    assert (gradient[..., :3] != 0).any()


@pytest.mark.parametrize("learned", [True, False])
def test_full_width_alone_is_zero_with_gradient_zero(student: Tensor, learned: bool) -> None:
    weights = torch.ones(1, requires_grad=True) if learned else None
    loss = SELF.loss(GlobalBatch(student, None, 0, 4), Nesting((6,), weights))
    assert (loss.total.item(), loss.per_dim.tolist()) == (0.0, [0.0])
    assert loss.total.dtype == loss.per_dim.dtype == torch.float64
    assert (torch.autograd.grad(loss.total, student, retain_graph=True)[0] == 0).all()
    if weights is not None:
        assert (torch.autograd.grad(loss.total, weights)[0] == 0).all()
    half = student.detach().bfloat16().requires_grad_()
    loss = SELF.loss(GlobalBatch(half, None, 0, 4), Nesting((6,), weights))
    assert loss.total.dtype == loss.per_dim.dtype == torch.float32
