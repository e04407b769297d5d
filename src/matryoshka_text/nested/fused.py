"""The fused way: Triton kernels whose forward pass reads x and y once for all dims; no [b, n] matrix is kept.

The backward pass forms each prefix's product anew from its first column: about two walks for halving dims, sum(m) / d
for others. Walking down instead, by subtraction, would cost two always, and cancel where a prefix is short.
"""

from math import e, log, log2
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.nested.fused_backward import Visited, Wanted, gradients
from matryoshka_text.nested.fused_packing import unpack
from matryoshka_text.nested.fused_plan import Operands, Plan, on_device, operands_of, plan_of
from matryoshka_text.nested.kernels import forward_kernel, pair_kernel
from matryoshka_text.nested.loss import NestedLoss
from matryoshka_text.nested.targets import HardTargets, Reading

__all__ = ["fused_loss"]

BOUNDED_SCALE = 40.0
"""Up to this scale, exp(-2 * scale) is a normal float32: the largest cosine logit need not be searched."""
PROGRAMS_A_PROCESSOR = 4
PAIRS = 32


class _Losses(NamedTuple):
    losses: Float[Tensor, "k b"]
    visited: Visited


def _losses(operands: Operands, plan: Plan) -> _Losses:
    """The loss of every row at every dim in nats, and what the way back needs of it."""
    pairs = operands.x.new_empty(len(plan.layout.dims), len(operands.x), dtype=torch.float32)
    if not pairs.numel():
        return _Losses(pairs, Visited(pairs, pairs, pairs))
    arguments = operands.arguments(plan)
    needed = ("x", "y", "stops", "inverse_x", "inverse_y", "target", "b", "n", "width", "count", "DEPTH")
    with on_device(operands.x):
        pair_kernel[(-(-len(operands.x) // PAIRS),)](
            pairs=pairs, ROWS=PAIRS, **{name: arguments[name] for name in needed}
        )
        tops, sums = _log_sums(operands, plan, arguments)
    match = pairs * arguments["scale2"]
    if operands.bias is not None:
        match += operands.bias[operands.target] * log2(e)
    top = tops.amax(0)
    total = (sums * torch.exp2(tops - top.masked_fill(top.isinf(), 0.0))).sum(0)
    # The target apart from the others: where they are far below it, softplus keeps the digits of a loss near 0.
    losses = F.softplus((top - match) * log(2) + total.log())
    return _Losses(losses, Visited(match + losses * log2(e), torch.expm1(-losses), pairs))


def _log_sums(operands: Operands, plan: Plan, arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """2^tops * sums, one for each split of the columns: [splits, count, b]."""
    count, b = len(plan.layout.dims), len(operands.x)
    row_tiles, column_tiles = -(-b // plan.tiles.rows), -(-len(operands.y) // plan.tiles.columns)
    tiles_a_split = -(-column_tiles // _splits(row_tiles, column_tiles, operands.x.device))
    splits = -(-column_tiles // tiles_a_split)
    tops, sums = operands.x.new_empty(2, splits, count, b, dtype=torch.float32)
    forward_kernel[(row_tiles, splits)](
        **arguments,
        tops=tops,
        sums=sums,
        tiles_a_split=tiles_a_split,
        BOUNDED=plan.unit and operands.bias is None and plan.scale <= BOUNDED_SCALE,
        COUNT=1 << (count - 1).bit_length(),
    )
    return tops, sums


def _splits(row_tiles: int, column_tiles: int, device: torch.device) -> int:
    """The number of parts of the columns, so that few rows keep every processor of a GPU busy all the same."""
    processors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    return max(1, min(column_tiles, PROGRAMS_A_PROCESSOR * processors // row_tiles))


class _Fused(torch.autograd.Function):
    """The loss as a function of vectors, weights, scale and bias; its gradient is formed when it is asked for."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        candidate: Tensor,
        weights: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        targets: HardTargets,
        plan: Plan,
    ) -> tuple[Tensor, Tensor]:
        operands = operands_of(query, candidate, bias, targets=targets, plan=plan)
        losses, visited = _losses(operands, plan)
        per_dim = losses.sum(1) / plan.denominator
        ctx.plan, ctx.kinds = plan, tuple((vectors.shape[1], vectors.dtype) for vectors in (query, candidate))
        ctx.save_for_backward(*operands, *visited, weights, per_dim)
        ctx.mark_non_differentiable(per_dim)
        return (weights * per_dim).sum(), per_dim

    @staticmethod
    def backward(ctx: Any, incoming: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a nested loss of the fused backend can be differentiated once, and backward was called with "
                "create_graph=True; use backend='reference' for second derivatives"
            )
        *read, log_sums, gaps, pairs, weights, per_dim = ctx.saved_tensors
        operands, plan = Operands(*read), ctx.plan
        rows, columns, of_weights, of_scale, of_bias = ctx.needs_input_grad[:5]
        with torch.autocast(operands.x.device.type, enabled=False):
            wanted = Wanted(rows, columns, of_scale, of_bias)
            found = gradients(operands, Visited(log_sums, gaps, pairs), weights, plan=plan, wanted=wanted)
            whole = incoming / plan.denominator
            factor = whole * (plan.scale * found.unit)
            (width_x, kind_x), (width_y, kind_y) = ctx.kinds
            return (
                None
                if found.dx is None
                else unpack(found.dx, operands.packed_x, plan.layout, factor=factor, width=width_x, dtype=kind_x),
                None
                if found.dy is None
                else unpack(found.dy, operands.packed_y, plan.layout, factor=factor, width=width_y, dtype=kind_y),
                incoming * per_dim if of_weights else None,
                None if found.row_dots is None or not of_scale else whole * (weights @ found.row_dots.sum(1)),
                None if found.dbias is None else whole * found.dbias,
                None,
                None,
            )


def fused_loss(
    query: Float[Tensor, "b d"],
    candidate: Float[Tensor, "n d"],
    weights: Float[Tensor, " k"],
    scale: Float[Tensor, ""],
    bias: Float[Tensor, " n"] | None,
    reading: Reading,
) -> NestedLoss:
    """The loss of nested_cross_entropy from the fused kernels, once differentiable; see there for the formula.

    Query and candidate are read in the type that theirs promote to: float32, bfloat16 or float16. `weights`, `scale`
    and `bias` are float32. In float16 a gradient loses digits where the first prefix of both vectors is shorter than
    about 2^-6 of the whole (bfloat16 and float32 do not).
    """
    dtype = torch.promote_types(query.dtype, candidate.dtype)
    plan = plan_of(reading, dtype, (len(query), len(candidate)), scale.item())
    total, per_dim = _Fused.apply(query, candidate, weights, scale, bias, reading.targets, plan)  # type: ignore[no-untyped-call]
    return NestedLoss(total, per_dim)
