"""The regression objective: the cosine of related pairs, right at every prefix length."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.dims import check_dims
from matryoshka_text.nested.checks import check_denominator, check_vectors, check_weights, computing_dtype
from matryoshka_text.nested.loss import NestedLoss, Number
from matryoshka_text.nested.prefixes import blocks, inverse_norms

__all__ = ["nested_pair_error", "pair_cosines"]


def nested_pair_error(
    student_first: Float[Tensor, "p d"],
    student_second: Float[Tensor, "p d"],
    target: Float[Tensor, " p"],
    dims: Sequence[int],
    *,
    weights: Sequence[Number] | Float[Tensor, " k"] | None = None,
    denominator: Number | Tensor | None = None,
) -> NestedLoss:
    """Squared error of each pair's cosine against `target`, at every prefix of `dims`.

    Equal, for each dim m, to

        per_dim = sum_p (cos(student_first[p, :m], student_second[p, :m]) - target[p])^2 / denominator
        total   = sum_m weights[m] * per_dim[m]

    the regression of sentence-embedding similarity (Sentence-BERT, arXiv:1908.10084, section 3) read at nested lengths.
    The inner products and norms of all prefixes are partial sums over blocks, so that the cost is that of one dim.
    A prefix shorter than 1e-12 has cosine 0 with everything and gets no gradient. No gradient reaches `target`;
    weights and denominator are as for nested_cross_entropy, and 0 pairs give 0.
    """
    device = student_first.device
    check_vectors("student_first", student_first, (None, None), device)
    check_vectors("student_second", student_second, tuple(student_first.shape), device)
    check_vectors("target", target, (len(student_first),), device)
    dims = check_dims(dims, student_first.shape[1])
    dtype = computing_dtype(student_first, student_second, target)
    each = check_weights(weights, len(dims), dtype, device)
    divisor = check_denominator(denominator, len(student_first))
    with torch.autocast(device.type, enabled=False):
        cosines = pair_cosines(student_first.to(dtype), student_second.to(dtype), dims)
        per_dim = (cosines - target.detach().to(dtype)).square().sum(1) / divisor
    return NestedLoss((each * per_dim).sum(), per_dim.detach())


def pair_cosines(
    first: Float[Tensor, "p d"], second: Float[Tensor, "p d"], dims: tuple[int, ...]
) -> Float[Tensor, "k p"]:
    """cos(first[p, :m], second[p, :m]) for each m of `dims`; 0, without gradient, where a prefix is shorter than 1e-12.

    Inner products and squared norms are partial sums over blocks, so that all dims cost as much as the last one.
    """
    parts = [torch.einsum("pd,pd->p", first[:, block], second[:, block]) for block in blocks(dims)]
    return torch.stack(parts).cumsum(0) * inverse_norms(first, dims) * inverse_norms(second, dims)
