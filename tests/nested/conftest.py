"""The definition once more, written without anything of the package: float64, one scalar product at a time."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def length(vector: Tensor) -> Tensor:
    return torch.sqrt(sum(value * value for value in vector))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """A prefix shorter than 1e-12 has cosine 0 with everything."""
    if length(a.detach()) < 1e-12 or length(b.detach()) < 1e-12:
        return 0.0 * (a * b).sum()
    return (a * b).sum() / (length(a) * length(b))


def log_sum_exp(values: list[Tensor]) -> Tensor:
    top = max(float(value.detach()) for value in values)
    return top + torch.log(sum(torch.exp(value - top) for value in values))


def cross_entropy(
    query,
    candidate,
    target,
    dims,
    weights=None,
    scale=None,
    normalize=True,
    bias=None,
    mask=None,
    query_ids=None,
    candidate_ids=None,
    denominator=None,
):
    query, candidate = query.double(), candidate.double()
    scale = (20.0 if normalize else 1.0) if scale is None else scale
    weights = [1.0] * len(dims) if weights is None else weights
    total, per_dim = torch.zeros((), dtype=torch.float64), []
    for weight, m in zip(weights, dims, strict=True):
        summed = torch.zeros((), dtype=torch.float64)
        for i in range(len(query)):
            logits = {}
            for j in range(len(candidate)):
                own = j == int(target[i])
                same = query_ids is not None and int(query_ids[i]) == int(candidate_ids[j])
                if not own and (same or (mask is not None and bool(mask[i, j]))):
                    continue
                a, b = query[i, :m], candidate[j, :m]
                logits[j] = scale * (cosine(a, b) if normalize else (a * b).sum())
                logits[j] = logits[j] + (0.0 if bias is None else bias[j])
            summed = summed + log_sum_exp(list(logits.values())) - logits[int(target[i])]
        mean = summed / (denominator or max(len(query), 1))
        per_dim.append(float(mean.detach()))
        total = total + weight * mean
    return total, torch.tensor(per_dim, dtype=torch.float64)


def distillation(
    rows,
    columns,
    teacher_rows,
    teacher_columns,
    dims,
    weights=None,
    temperature=0.05,
    teacher_temperature=None,
    self_index=None,
    denominator=None,
):
    rows, columns = rows.double(), columns.double()
    teacher_rows, teacher_columns = teacher_rows.detach().double(), teacher_columns.detach().double()
    weights = [1.0] * len(dims) if weights is None else weights
    shared = temperature.detach() if torch.is_tensor(temperature) else temperature
    sharpness = float(shared) if teacher_temperature is None else teacher_temperature
    total, per_dim = torch.zeros((), dtype=torch.float64), []
    for weight, m in zip(weights, dims, strict=True):
        summed = torch.zeros((), dtype=torch.float64)
        for i in range(len(rows)):
            others = [j for j in range(len(columns)) if self_index is None or j != int(self_index[i])]
            student = [cosine(rows[i, :m], columns[j, :m]) / temperature for j in others]
            teacher = [cosine(teacher_rows[i], teacher_columns[j]) / sharpness for j in others]
            student_all, teacher_all = log_sum_exp(student), log_sum_exp(teacher)
            for s, t in zip(student, teacher, strict=True):
                log_q, log_p = t - teacher_all, s - student_all
                summed = summed + torch.exp(log_q) * (log_q - log_p)
        mean = summed / (denominator or max(len(rows), 1))
        per_dim.append(float(mean.detach()))
        total = total + weight * mean
    return total, torch.tensor(per_dim, dtype=torch.float64)


def pair_error(first, second, target, dims, weights=None, denominator=None):
    weights = [1.0] * len(dims) if weights is None else weights
    total, per_dim = torch.zeros((), dtype=torch.float64), []
    for weight, m in zip(weights, dims, strict=True):
        errors = [
            (cosine(a[:m], b[:m]) - t) ** 2
            for a, b, t in zip(first.double(), second.double(), target.detach().double(), strict=True)
        ]
        mean = sum(errors, torch.zeros((), dtype=torch.float64)) / (denominator or max(len(first), 1))
        per_dim.append(float(mean.detach()))
        total = total + weight * mean
    return total, torch.tensor(per_dim, dtype=torch.float64)


def unit(vector: Tensor) -> Tensor:
    """A prefix shorter than 1e-12 is a row of zeros."""
    return 0.0 * vector if length(vector.detach()) < 1e-12 else vector / length(vector)


def vector_error(student, teacher, dims, weights=None, denominator=None):
    weights = [1.0] * len(dims) if weights is None else weights
    total, per_dim = torch.zeros((), dtype=torch.float64), []
    for weight, m in zip(weights, dims, strict=True):
        errors = [
            ((unit(s[:m]) - unit(t[:m])) ** 2).sum()
            for s, t in zip(student.double(), teacher.detach().double(), strict=True)
        ]
        mean = sum(errors, torch.zeros((), dtype=torch.float64)) / (denominator or max(len(student), 1))
        per_dim.append(float(mean.detach()))
        total = total + weight * mean
    return total, torch.tensor(per_dim, dtype=torch.float64)


def cosent(first, second, scores, dims, weights=None, scale=20.0, denominator=1):
    """log(1 + sum over all ordered pairs of rows), in float64, as the largest exponent would have it."""
    weights = [1.0] * len(dims) if weights is None else weights
    total, per_dim = torch.zeros((), dtype=torch.float64), []
    for weight, m in zip(weights, dims, strict=True):
        cosines = [cosine(a[:m], b[:m]) for a, b in zip(first.double(), second.double(), strict=True)]
        exponents = [torch.zeros((), dtype=torch.float64)]
        for i in range(len(cosines)):
            for j in range(len(cosines)):
                if float(scores[i]) > float(scores[j]):
                    exponents.append(scale * (cosines[j] - cosines[i]))
        loss = log_sum_exp(exponents) / denominator
        per_dim.append(float(loss.detach()))
        # No comparison leaves no graph behind.
        total = total + weight * (loss + 0.0 * (first.sum() + second.sum()))
    return total, torch.tensor(per_dim, dtype=torch.float64)


@pytest.fixture(scope="session")
def oracle() -> SimpleNamespace:
    return SimpleNamespace(
        cross_entropy=cross_entropy,
        distillation=distillation,
        pair_error=pair_error,
        vector_error=vector_error,
        cosent=cosent,
    )


@pytest.fixture(scope="session")
def agree() -> Callable[..., None]:
    """Value, per-dim values and gradients of a loss against an oracle's, on the same leaves."""

    def check(loss, expected, leaves, rtol=1e-9, atol=1e-11):
        total, per_dim = expected
        torch.testing.assert_close(loss.total.double(), total, rtol=rtol, atol=atol)
        torch.testing.assert_close(loss.per_dim.double(), per_dim, rtol=rtol, atol=atol)
        found = torch.autograd.grad(loss.total, leaves)
        for ours, theirs, leaf in zip(found, torch.autograd.grad(total, leaves), leaves, strict=True):
            assert ours.dtype == leaf.dtype
            assert ours.isfinite().all()
            torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)

    return check


@pytest.fixture
def small_tiles(monkeypatch):
    """Three rows a tile, so that small cases have several tiles and a last one that is not full."""
    monkeypatch.setattr("matryoshka_text.nested.chunked.tile_rows", lambda columns, device: 3)


class Watch(TorchDispatchMode):
    """The number of entries of every result, and how many matrix products were made."""

    def __init__(self):
        super().__init__()
        self.entries, self.products = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.products += function.overloadpacket.__name__ in ("mm", "addmm", "addmm_")
        self.entries += [r.numel() for r in (result if isinstance(result, tuple) else (result,)) if torch.is_tensor(r)]
        return result


@pytest.fixture
def watch() -> type[Watch]:
    return Watch


@pytest.fixture
def saved_entries():
    """The number of entries of each tensor that a loss keeps for its backward pass."""

    def measure(make_loss: Callable[[], Tensor]) -> list[int]:
        kept = []

        def pack(tensor):
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            total = make_loss()
        assert math.isfinite(float(total.detach()))
        return kept

    return measure
