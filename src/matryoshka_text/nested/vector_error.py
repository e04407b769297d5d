"""The regression objective on vectors: a student's prefixes lie where a teacher's prefixes of the same length do."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.dims import check_dims
from matryoshka_text.nested.checks import check_denominator, check_vectors, check_weights, computing_dtype
from matryoshka_text.nested.loss import NestedLoss, Number
from matryoshka_text.nested.pair_error import pair_cosines
from matryoshka_text.nested.prefixes import inverse_norms

__all__ = ["nested_vector_error"]


def nested_vector_error(
    student: Float[Tensor, "n d"],
    teacher: Float[Tensor, "n e"],
    dims: Sequence[int],
    *,
    weights: Sequence[Number] | Float[Tensor, " k"] | None = None,
    denominator: Number | Tensor | None = None,
) -> NestedLoss:
    """Squared distance of the unit prefixes of student and teacher, at every prefix of `dims`.

    Equal, for each dim m, with unit(x) = x / |x|, to

        per_dim = sum_i |unit(student[i, :m]) - unit(teacher[i, :m])|^2 / denominator
        total   = sum_m weights[m] * per_dim[m]

    which is 2 - 2 cos for prefixes that are not zero, so that the inner products and norms of all prefixes are partial
    sums over blocks. A teacher's prefix says something only where its coordinates are ordered by what they tell, as
    those of a rotated or a nested model are. A prefix shorter than 1e-12 counts as zeros and gets no gradient. No
    gradient reaches the teacher; weights and denominator are as for nested_cross_entropy, and 0 rows give 0.
    """
    device, rows = student.device, len(student)
    check_vectors("student", student, (None, None), device)
    check_vectors("teacher", teacher, (rows, None), device)
    dims = check_dims(dims, min(student.shape[1], teacher.shape[1]))
    dtype = computing_dtype(student, teacher)
    each = check_weights(weights, len(dims), dtype, device)
    divisor = check_denominator(denominator, rows)
    with torch.autocast(device.type, enabled=False):
        own, taught = student[:, : dims[-1]].to(dtype), teacher[:, : dims[-1]].detach().to(dtype)
        # |unit(x)|^2: 1, or 0 for a prefix of zeros.
        lengths = sum((inverse_norms(x.detach(), dims) > 0).to(dtype) for x in (own, taught))
        per_dim = (lengths - 2 * pair_cosines(own, taught, dims)).sum(1) / divisor
    return NestedLoss((each * per_dim).sum(), per_dim.detach())
