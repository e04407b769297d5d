"""The soft-target objective: the student's prefixes follow a teacher's similarities within the batch."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from matryoshka_text.dims import check_dims
from matryoshka_text.nested.checks import (
    check_backend,
    check_denominator,
    check_index,
    check_scale,
    check_vectors,
    check_weights,
    computing_dtype,
)
from matryoshka_text.nested.chunked import chunked_loss
from matryoshka_text.nested.loss import Backend, NestedLoss, Number
from matryoshka_text.nested.prefixes import unit_prefix
from matryoshka_text.nested.reference import reference_distillation
from matryoshka_text.nested.targets import Reading, SoftTargets

__all__ = ["nested_distillation"]


def nested_distillation(
    student_rows: Float[Tensor, "b d"],
    student_columns: Float[Tensor, "n d"],
    teacher_rows: Float[Tensor, "b e"],
    teacher_columns: Float[Tensor, "n e"],
    dims: Sequence[int],
    *,
    weights: Sequence[Number] | Float[Tensor, " k"] | None = None,
    temperature: Number | Float[Tensor, "..."] = 0.05,
    teacher_temperature: Number | None = None,
    self_index: Int[Tensor, " b"] | None = None,
    denominator: Number | Tensor | None = None,
    backend: Backend = "auto",
) -> NestedLoss:
    """KL divergence in nats from the teacher's to the student's similarity distribution, at every prefix of `dims`.

    Equal, for each dim m, with cos(a, b) = normalize(a) @ normalize(b).T, to

        q = softmax(cos(teacher_rows, teacher_columns) / teacher_temperature)        the teacher at its full width
        p = softmax(cos(student_rows[:, :m], student_columns[:, :m]) / temperature)
        per_dim = sum(q * log(q / p)) / denominator          total = sum_m weights[m] * per_dim[m]

    Soft targets are those of Hinton, Vinyals and Dean (arXiv:1503.02531, section 2) without its factor T^2; taking the
    distribution over the other items of a batch as what is distilled follows SEED (arXiv:2101.04731, equations 2 to 5).
    Prefixes of a student are nested as in arXiv:2205.13147.

    - self_index: the column that is the row itself, taken out on both sides; None takes nothing out.
    - teacher_temperature: None is `temperature`, without its gradient. No gradient reaches the teacher.
    - weights, temperature may be tensors with gradient. denominator, backend: as for nested_cross_entropy,
      but there are no fused kernels here: "auto" is "chunked".
    """
    device, b, n = student_rows.device, len(student_rows), len(student_columns)
    check_vectors("student_rows", student_rows, (None, None), device)
    check_vectors("student_columns", student_columns, (None, student_rows.shape[1]), device)
    check_vectors("teacher_rows", teacher_rows, (b, None), device)
    check_vectors("teacher_columns", teacher_columns, (n, teacher_rows.shape[1]), device)
    dims = check_dims(dims, student_rows.shape[1])
    own = _check_self_index(self_index, b, n, device)
    dtype = computing_dtype(student_rows, student_columns, teacher_rows, teacher_columns)
    each = check_weights(weights, len(dims), dtype, device)
    scale = check_scale("temperature", temperature, dtype, device).reciprocal()
    if teacher_temperature is None:
        teacher_scale = scale.detach()
    else:
        teacher_scale = check_scale("teacher_temperature", teacher_temperature, dtype, device).reciprocal()
    divisor = check_denominator(denominator, b)
    chunked = check_backend(backend, ("auto", "reference", "chunked")) != "reference"
    with torch.autocast(device.type, enabled=False):
        x, y = student_rows.to(dtype), student_columns.to(dtype)
        with torch.no_grad():
            teacher = (unit_prefix(t.to(dtype), t.shape[1]) for t in (teacher_rows, teacher_columns))
            targets = SoftTargets(next(teacher) * teacher_scale, next(teacher), own)
        loss = chunked_loss if chunked else reference_distillation
        return loss(x, y, each, scale=scale, bias=None, reading=Reading(dims, True, divisor, targets))


def _check_self_index(self_index: Tensor | None, b: int, n: int, device: torch.device) -> Tensor | None:
    if b and n < (1 if self_index is None else 2):
        raise ValueError(f"student_columns holds {n} columns; a distribution over the others needs at least one")
    return None if self_index is None else check_index("self_index", self_index, b, device, below=n)
