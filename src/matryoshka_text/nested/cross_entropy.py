"""The hard-target objectives: contrastive, vocabulary-tied masked language model, classification."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from matryoshka_text.dims import check_dims
from matryoshka_text.nested.checks import (
    check_backend,
    check_denominator,
    check_index,
    check_scale,
    check_shape,
    check_vectors,
    check_weights,
    computing_dtype,
)
from matryoshka_text.nested.chunked import chunked_loss
from matryoshka_text.nested.fused_support import choose_backend, refuse_fused
from matryoshka_text.nested.loss import Backend, NestedLoss, Number
from matryoshka_text.nested.reference import reference_cross_entropy
from matryoshka_text.nested.targets import HardTargets, Reading

__all__ = ["nested_cross_entropy"]


def nested_cross_entropy(
    query: Float[Tensor, "b d"],
    candidate: Float[Tensor, "n d"],
    target: Int[Tensor, " b"],
    dims: Sequence[int],
    weights: Sequence[Number] | Float[Tensor, " k"] | None = None,
    scale: Number | Float[Tensor, "..."] | None = None,
    normalize: bool = True,
    bias: Float[Tensor, " n"] | None = None,
    mask: Bool[Tensor, "b n"] | None = None,
    query_ids: Int[Tensor, " b"] | None = None,
    candidate_ids: Int[Tensor, " n"] | None = None,
    denominator: Number | Tensor | None = None,
    backend: Backend = "auto",
) -> NestedLoss:
    """Softmax cross-entropy in nats over inner products, read at every prefix length of `dims` and summed.

    Equal, for each dim m, to

        logits = scale * normalize(query[:, :m]) @ normalize(candidate[:, :m]).T + bias     (raw prefixes: no normalize)
        per_dim = cross_entropy(logits, target, reduction="sum") / denominator
        total   = sum_m weights[m] * per_dim[m]

    which is the sum over nested lengths of Matryoshka Representation Learning (arXiv:2205.13147, equation 1, whose c_m
    are `weights`) and, with raw prefixes, its weight-tied MRL-E (section 3). A unit-length prefix is 0 if its row is
    shorter than 1e-12: its logits and its gradient are 0.

    - weights: None is 1 for each dim. scale: 1/temperature; None is 20 for unit-length prefixes and 1 for raw ones.
      Both may be tensors with gradient, and so may `bias`.
    - mask: True takes a candidate out of a row; for small cases, as it has b * n entries. query_ids and candidate_ids,
      given together, take out every candidate with the row's own id. The target itself is never taken out: mask and
      ids are ignored there.
    - denominator: None is b. Under several processes, accumulation or chunking give the global count. 0 rows give 0.
    - backend: "reference" is the loop above, differentiated by autograd. "chunked" has the gradient written by hand,
      forms it together with the value and keeps no [b, n] matrix; it can be differentiated once. "fused" does the same
      in Triton kernels for NVIDIA GPUs, from compute capability 8.0 on, for float32, bfloat16 and float16. "auto" is
      "fused" where that runs and "chunked" elsewhere; `choose_backend` says which, and why.

    Half-precision inputs are read as float32, or by "fused" as they are, and always summed in float32; autocast is off
    inside. Gradients come back in the inputs' types.
    ValueError names the argument, what it holds and what is allowed.
    """
    device, (b, width) = query.device, _check_rows(query, candidate, bias)
    n, dtype, dims = len(candidate), computing_dtype(query, candidate), check_dims(dims, width)
    gone = {"mask": mask, "query_ids": query_ids, "candidate_ids": candidate_ids}
    targets = HardTargets(check_index("target", target, b, device, below=n), **_checked_exclusions(gone, b, n, device))
    each = check_weights(weights, len(dims), dtype, device)
    factor = check_scale("scale", (20.0 if normalize else 1.0) if scale is None else scale, dtype, device)
    divisor = check_denominator(denominator, b)
    chosen = _choose(backend, device, torch.promote_types(query.dtype, candidate.dtype), len(dims))
    with torch.autocast(device.type, enabled=False):
        offset = None if bias is None else bias.to(dtype)
        reading = Reading(dims, normalize, divisor, targets)
        if chosen == "fused":
            # Triton is asked for only where it is used: a machine without it imports and works.
            from matryoshka_text.nested.fused import fused_loss

            return fused_loss(query, candidate, each, scale=factor, bias=offset, reading=reading)
        loss = chunked_loss if chosen == "chunked" else reference_cross_entropy
        return loss(query.to(dtype), candidate.to(dtype), each, scale=factor, bias=offset, reading=reading)


def _choose(backend: str, device: torch.device, dtype: torch.dtype, dims: int) -> str:
    if check_backend(backend) == "auto":
        return choose_backend(device, dtype, dims).name
    if backend == "fused":
        refuse_fused(device, dtype, dims)
    return backend


def _check_rows(query: Tensor, candidate: Tensor, bias: Tensor | None) -> tuple[int, int]:
    check_vectors("query", query, (None, None), query.device)
    check_vectors("candidate", candidate, (None, query.shape[1]), query.device)
    if bias is not None:
        check_vectors("bias", bias, (len(candidate),), query.device)
    return len(query), query.shape[1]


def _checked_exclusions(
    given: dict[str, Tensor | None], b: int, n: int, device: torch.device
) -> dict[str, Tensor | None]:
    """`mask`, `query_ids` and `candidate_ids` as `HardTargets` takes them."""
    mask, query_ids, candidate_ids = given.values()
    if mask is not None:
        check_shape("mask", mask, (b, n), device)
        if mask.dtype != torch.bool:
            raise ValueError(f"mask holds {mask.dtype}; allowed is torch.bool, True = taken out")
    if (query_ids is None) != (candidate_ids is None):
        found, missing = ("query_ids", "candidate_ids") if candidate_ids is None else ("candidate_ids", "query_ids")
        raise ValueError(f"{found} is given and {missing} is not; allowed are both or neither")
    if query_ids is None or candidate_ids is None:
        return {"mask": mask}
    rows = check_index("query_ids", query_ids, b, device)
    return {"mask": mask, "query_ids": rows, "candidate_ids": check_index("candidate_ids", candidate_ids, n, device)}
