"""The objectives on pairs against loops in float64, and the shares of several processes against the whole."""

import math

import pytest
import torch
from torch import Tensor

from matryoshka_text.objectives import VectorObjective
from matryoshka_text.objectives.batch import GlobalBatch, Nesting
from matryoshka_text.objectives.cosent import CoSENT
from matryoshka_text.objectives.distill import Distill
from matryoshka_text.objectives.info_nce import InfoNCE
from matryoshka_text.objectives.score_distill import ScoreDistill
from matryoshka_text.objectives.self_distill import SelfDistill

DIMS = (2, 5, 8)
WEIGHTS = (1.0, 0.5, 2.0)
NESTING = Nesting(DIMS, torch.tensor(WEIGHTS))


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
    loss = InfoNCE(kind="info_nce", temperature=0.1).loss(GlobalBatch(student, None, 0, 6), NESTING)
    expected = [_cross_entropy(student, dim) for dim in DIMS]
    assert loss.per_dim.tolist() == pytest.approx(expected, rel=1e-9)
    assert float(loss.total) == pytest.approx(sum(w * x for w, x in zip(WEIGHTS, expected, strict=True)), rel=1e-9)


def test_products_in_half_precision_leave_the_gradient_in_the_vectors_own_type(vectors: tuple[Tensor, Tensor]) -> None:
    student = vectors[0].float().requires_grad_()
    exact = InfoNCE(kind="info_nce", temperature=0.1).loss(GlobalBatch(student, None, 0, 6), NESTING)
    half = InfoNCE(kind="info_nce", temperature=0.1).loss(
        GlobalBatch(student, None, 0, 6, products=torch.bfloat16), NESTING
    )
    assert half.total.dtype == torch.float32
    rounded = student.detach().bfloat16().float()
    assert float(half.total) == pytest.approx(
        float(InfoNCE(kind="info_nce", temperature=0.1).loss(GlobalBatch(rounded, None, 0, 6), NESTING).total), rel=1e-6
    )
    ours, expected = (torch.autograd.grad(loss.total, student)[0] for loss in (half, exact))
    assert ours.dtype == torch.float32
    assert 0 < (ours - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("pair_weight", [0.0, 7.0])
def test_distill_is_its_definition(vectors: tuple[Tensor, Tensor], pair_weight: float) -> None:
    student, teacher = vectors
    objective = Distill(kind="distill", temperature=0.1, pair_weight=pair_weight, full_width_weight=3.0)
    loss = objective.loss(GlobalBatch(student, teacher, 0, 6), NESTING)
    expected = [_distilled(student, teacher, dim, pair_weight) for dim in DIMS]
    assert loss.per_dim.tolist() == pytest.approx(expected, rel=1e-6)
    weights = (1.0, 0.5, 6.0)  # the last one times full_width_weight
    assert float(loss.total) == pytest.approx(sum(w * x for w, x in zip(weights, expected, strict=True)), rel=1e-6)


@pytest.mark.parametrize("width", [8, 5])
def test_distill_adds_the_error_of_vectors_at_the_dims_that_the_teacher_has(
    vectors: tuple[Tensor, Tensor], width: int
) -> None:
    student, _ = vectors
    teacher = torch.randn(3, 6, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    without, added = (
        Distill(kind="distill", temperature=0.1, pair_weight=7.0, full_width_weight=3.0, vector_weight=factor).loss(
            GlobalBatch(student, teacher, 0, 6), NESTING
        )
        for factor in (0.0, 2.0)
    )
    errors = []
    for dim in DIMS:
        ours, theirs = (torch.nn.functional.normalize(x[..., :dim], dim=-1) for x in (student, teacher))
        errors.append(2 * float((ours - theirs).square().sum(-1).mean()) if dim <= width else 0.0)
    assert (added.per_dim - without.per_dim).tolist() == pytest.approx(errors, rel=1e-9)
    weights = (1.0, 0.5, 6.0)
    expected = sum(w * x for w, x in zip(weights, errors, strict=True))
    assert float(added.total - without.total) == pytest.approx(expected, rel=1e-9)


def test_the_full_width_weight_is_for_full_width_alone(vectors: tuple[Tensor, Tensor]) -> None:
    student, teacher = vectors
    objective = Distill(kind="distill", temperature=0.1, pair_weight=0.0, full_width_weight=3.0)
    batch = GlobalBatch(student, teacher, 0, 6)
    short = objective.loss(batch, Nesting((2, 5)))
    assert float(short.total) == pytest.approx(float(short.per_dim.sum()), rel=1e-12)
    whole = objective.loss(batch, Nesting((8,)))
    assert float(whole.total) == pytest.approx(3 * float(whole.per_dim), rel=1e-12)


SCORES = torch.tensor([0.0, 5.0, 2.5, 2.5, 4.0, 1.0], dtype=torch.float64)
OBJECTIVES = {
    "info_nce": InfoNCE(kind="info_nce", temperature=0.1),
    "distill": Distill(kind="distill", temperature=0.1, pair_weight=7.0, full_width_weight=3.0, vector_weight=2.0),
    "self_distill": SelfDistill(kind="self_distill", temperature=0.1, pair_weight=7.0),
    "cosent": CoSENT(kind="cosent", temperature=0.1),
    "score_distill": ScoreDistill(kind="score_distill", range=(0.0, 5.0)),
}
each = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


@each
@pytest.mark.parametrize("cuts", [[(0, 2), (2, 4), (4, 6)], [(0, 6), (6, 6)]], ids=["thirds", "one has no rows"])
def test_the_shares_of_all_processes_add_up(
    vectors: tuple[Tensor, Tensor], objective: VectorObjective, cuts: list[tuple[int, int]]
) -> None:
    student, teacher = vectors

    def gradient(cuts: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        leaf, weights = student.clone().requires_grad_(), torch.tensor(WEIGHTS, requires_grad=True)
        nesting = Nesting(DIMS, weights)
        batches = [GlobalBatch(leaf, teacher, first, last, SCORES, len(cuts)) for first, last in cuts]
        parts = [objective.loss(batch, nesting) for batch in batches]
        total = torch.stack([part.total for part in parts]).sum()
        total.backward()
        assert leaf.grad is not None and weights.grad is not None
        return total.detach(), torch.stack([part.per_dim for part in parts]).sum(0), leaf.grad, weights.grad

    for whole, shared in zip(gradient([(0, 6)]), gradient(cuts), strict=True):
        torch.testing.assert_close(shared, whole, rtol=1e-6 if whole.dtype == torch.float32 else 1e-9, atol=1e-12)


@each
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_float32(
    vectors: tuple[Tensor, Tensor], objective: VectorObjective, dtype: torch.dtype
) -> None:
    student, teacher = (v.to(dtype).requires_grad_() for v in vectors)
    loss = objective.loss(GlobalBatch(student, teacher, 0, 6, SCORES), NESTING)
    assert (loss.total.dtype, loss.per_dim.dtype) == (torch.float32, torch.float32)
    exact = objective.loss(GlobalBatch(student.float(), teacher.float(), 0, 6, SCORES), NESTING)
    torch.testing.assert_close(loss.per_dim, exact.per_dim, rtol=0, atol=0)
    assert torch.autograd.grad(loss.total, student)[0].dtype == dtype


@each
def test_no_gradient_reaches_the_teacher(vectors: tuple[Tensor, Tensor], objective: VectorObjective) -> None:
    student, teacher = (v.requires_grad_() for v in vectors)
    loss = objective.loss(GlobalBatch(student, teacher, 0, 6, SCORES), NESTING)
    assert torch.autograd.grad(loss.total, teacher, allow_unused=True) == (None,)
    assert not loss.per_dim.requires_grad


@each
def test_a_step_may_read_some_of_the_dims(vectors: tuple[Tensor, Tensor], objective: VectorObjective) -> None:
    batch = GlobalBatch(vectors[0], vectors[1], 0, 6, SCORES)
    everything = objective.loss(batch, NESTING).per_dim
    for some in ((0,), (2,), (0, 2)):
        nesting = Nesting(tuple(DIMS[i] for i in some), torch.tensor([WEIGHTS[i] for i in some]))
        torch.testing.assert_close(objective.loss(batch, nesting).per_dim, everything[[*some]], rtol=1e-9, atol=1e-12)


def test_every_objective_has_a_name_and_a_weight() -> None:
    for name, objective in OBJECTIVES.items():
        assert (objective.kind, objective.weight) == (name, 1.0)
