"""The gradient of the fused cross-entropy.

C_k, the summed gradients of the logits of the prefixes that contain block k, is written for a chunk of rows and columns
and multiplied by torch.mm. For a logit at d = 768, K = 7 in half precision that writes C_k once and reads it twice, 42
bytes, and leaves 2/5 of the work of the loss to the vendor's matrix product; the sums are the same in every run.
"""

from collections.abc import Iterator
from math import isqrt
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from matryoshka_text.nested.fused_packing import Packed
from matryoshka_text.nested.fused_plan import Operands, Plan, on_device
from matryoshka_text.nested.kernels_backward import share_kernel

__all__ = ["Gradients", "Visited", "Wanted", "gradients"]

MOST_TILES = 65535
"""CUDA's limit of a launch along its second axis."""
SHARE_BYTES = 2**28
"""The most memory that C_k of one chunk of rows and columns takes, for all dims together; a tile at the least.

A square chunk of this size has 4,300 rows and columns at seven dims in half precision: few enough launches, products
large enough for the tensor cores, and gradients added to global memory rarely, compared with what C_k itself moves.
"""
RAISE_HALF = 1024.0
"""What C_k is multiplied by in float16, whose smallest normal number is 2^-14.

Relative weights are at most 1, and so are the lengths' factors, by the packing: |C_k| <= 32 dims, 2^15 when raised.
float16 because its products want a partner of its own type, and bfloat16 would cost both three bits.
"""


class Visited(NamedTuple):
    """What the way back needs of the way there.

    Log-sum-exps in base 2; exp(-loss) - 1, which is the slope at the target without the cancellation of a loss near 0;
    the inner products of rows and their targets, as the logits hold them.
    """

    log_sums: Float[Tensor, "k b"]
    gaps: Float[Tensor, "k b"]
    pairs: Float[Tensor, "k b"]


class Wanted(NamedTuple):
    """The inputs that need a gradient."""

    rows: bool
    columns: bool
    scale: bool
    bias: bool


class Gradients(NamedTuple):
    """Sums over rows, without the denominator: `unit` * scale * dx and dy belong to the packed vectors."""

    dx: Float[Tensor, "b w"] | None
    dy: Float[Tensor, "n w"] | None
    row_dots: Float[Tensor, "k b"] | None
    column_dots: Float[Tensor, "k n"] | None
    dbias: Float[Tensor, " n"] | None
    unit: Float[Tensor, ""]


def gradients(
    operands: Operands, visited: Visited, weights: Float[Tensor, " k"], plan: Plan, wanted: Wanted
) -> Gradients:
    """The gradients of the sum over rows and dims of weight * loss.

    Relative weights go into the kernels, the largest one stays out in `unit`: half-precision values are then of one
    size whatever the weights are, as they are without the scale and the denominator.
    """
    largest = weights.abs().amax()
    largest = torch.where(largest > 0, largest, 1.0)
    found = _empty(operands, plan, wanted, largest)
    if any(wanted) and len(operands.x):
        relative = (weights / largest).contiguous()
        if plan.unit and plan.layout.dims[0] == 1 and found.dbias is None:
            relative[0] = 0  # a unit prefix of one coordinate is a sign: only rounding would be left of its pull
        with on_device(operands.x):
            _visit(operands, visited, relative, plan=plan, found=found)
        _add_targets(operands, visited, relative, plan=plan, found=found)
        _leave_directions(found.dx, operands.packed_x, found.row_dots, relative=relative, plan=plan)
        _leave_directions(found.dy, operands.packed_y, found.column_dots, relative=relative, plan=plan)
        if found.dbias is not None:
            found.dbias.mul_(largest)
    return found


def _raised(plan: Plan) -> float:
    return RAISE_HALF if plan.dtype == torch.float16 else 1.0


def _empty(operands: Operands, plan: Plan, wanted: Wanted, largest: Tensor) -> Gradients:
    count, b, n = len(plan.layout.dims), len(operands.x), len(operands.y)

    def zeros(need: bool, *shape: int) -> Tensor | None:
        return operands.x.new_zeros(shape, dtype=torch.float32) if need else None

    return Gradients(
        dx=zeros(wanted.rows, b, plan.layout.width),
        dy=zeros(wanted.columns, n, plan.layout.width),
        row_dots=zeros(wanted.scale or (plan.unit and wanted.rows), count, b),
        column_dots=zeros(plan.unit and wanted.columns, count, n),
        dbias=zeros(wanted.bias, n),
        unit=largest / _raised(plan),
    )


def _add_targets(operands: Operands, visited: Visited, relative: Tensor, plan: Plan, found: Gradients) -> None:
    """Add the contribution of each row's target logit, in float32."""
    target, along = operands.target, visited.gaps * visited.pairs
    graded = visited.gaps * relative[:, None]
    if found.dbias is not None:
        _add_at(found.dbias, target, graded.sum(0))
    if found.row_dots is not None:
        found.row_dots.add_(along)
    if found.column_dots is not None:
        _add_at(found.column_dots.T, target, along.T)
    if operands.inverse_x is not None and operands.inverse_y is not None:
        graded = graded * operands.inverse_x * operands.inverse_y[:, target]
    carried = (graded * _raised(plan)).flip(0).cumsum(0).flip(0)
    for part, (_, block) in zip(carried, plan.layout.blocks(), strict=True):
        if found.dx is not None:
            found.dx[:, block] += operands.y[:, block][target] * part[:, None]
        if found.dy is not None:
            _add_at(found.dy[:, block], target, operands.x[:, block] * part[:, None])


def _add_at(total: Float[Tensor, "n ..."], places: Int[Tensor, " b"], parts: Float[Tensor, "b ..."]) -> None:
    # On a GPU this adds equal places in a fixed order, which index_add_ does not.
    total.index_put_((places,), parts, accumulate=True)


def _leave_directions(
    gradient: Tensor | None, packed: Packed, dots: Tensor | None, relative: Float[Tensor, " k"], plan: Plan
) -> None:
    """Remove from the gradient, at each dim, the part that would only lengthen the prefix."""
    if gradient is None or dots is None or packed.inverse is None:
        return
    along = dots * packed.inverse.square() * (relative * _raised(plan))[:, None]
    for part, (_, block) in zip(along.flip(0).cumsum(0).flip(0), plan.layout.blocks(), strict=True):
        gradient[:, block] -= packed.values[:, block] * part[:, None]


def _visit(operands: Operands, visited: Visited, relative: Tensor, plan: Plan, found: Gradients) -> None:
    b, n, count = len(operands.x), len(operands.y), len(plan.layout.dims)
    rows, columns = _chunk(b, n, plan)
    stride = -(-columns // 16) * 16
    # Neither rows nor columns: only the scale or the bias needs a gradient, and C_k is not written.
    write = found.dx is not None or found.dy is not None
    shares = operands.x.new_empty(count, rows, stride) if write else None
    arguments = operands.arguments(plan) | {"log_sums": visited.log_sums, "weights": relative}
    arguments["RAISE"] = _raised(plan)
    for row_part in _parts(b, rows):
        for column_part in _parts(n, columns):
            _visit_chunk(arguments, plan, found, shares=shares, rows=row_part, columns=column_part)
            if shares is not None:
                own = shares[:, : row_part.stop - row_part.start, : column_part.stop - column_part.start]
                _multiply(own, operands, plan, found=found, rows=row_part, columns=column_part)


def _chunk(b: int, n: int, plan: Plan) -> tuple[int, int]:
    """The rows and columns of a chunk: near a square, whole tiles, no more C_k than SHARE_BYTES."""
    most = SHARE_BYTES // (len(plan.layout.dims) * plan.dtype.itemsize)

    def whole(size: int, tile: int, limit: int) -> int:
        return min(max(size // tile, 1) * tile, limit)

    rows = whole(isqrt(most), plan.tiles.rows, b)
    columns = min(whole(most // rows, plan.tiles.columns, n), MOST_TILES * plan.tiles.columns)
    return (whole(most // n, plan.tiles.rows, b), n) if columns == n else (rows, columns)


def _parts(size: int, part: int) -> Iterator[slice]:
    for start in range(0, size, part):
        yield slice(start, min(start + part, size))


def _visit_chunk(
    arguments: dict[str, Any], plan: Plan, found: Gradients, shares: Tensor | None, rows: slice, columns: slice
) -> None:
    """Fill `shares`, and add the chunk's other sums to what was found."""
    size_r, size_c, count = rows.stop - rows.start, columns.stop - columns.start, len(plan.layout.dims)
    tiles_r, tiles_c = -(-size_r // plan.tiles.rows), -(-size_c // plan.tiles.columns)

    def partial(total: Tensor | None, *shape: int) -> Tensor | None:
        return None if total is None else total.new_empty(shape)

    row_dots, column_dots = (
        partial(found.row_dots, tiles_c, count, size_r),
        partial(found.column_dots, tiles_r, count, size_c),
    )
    bias_sums = partial(found.dbias, tiles_r, size_c)
    share_kernel[(tiles_r, tiles_c)](
        **arguments,
        shares=shares,
        row_dots=row_dots,
        column_dots=column_dots,
        bias_sums=bias_sums,
        first_row=rows.start,
        first_column=columns.start,
        chunk_rows=size_r,
        chunk_columns=size_c,
        share_row=0 if shares is None else shares.stride(1),
        share_prefix=0 if shares is None else shares.stride(0),
    )
    for total, parts, place in (
        (found.row_dots, row_dots, rows),
        (found.column_dots, column_dots, columns),
        (found.dbias, bias_sums, columns),
    ):
        if total is not None and parts is not None:
            total[..., place] += parts.sum(0)


def _multiply(
    shares: Float[Tensor, "k r c"], operands: Operands, plan: Plan, found: Gradients, rows: slice, columns: slice
) -> None:
    for own, (_, block) in zip(shares, plan.layout.blocks(), strict=True):
        if found.dx is not None:
            found.dx[rows, block] += _product(own, operands.y[columns, block])
        if found.dy is not None:
            found.dy[columns, block] += _product(own.T, operands.x[rows, block])


def _product(left: Float[Tensor, "p q"], right: Float[Tensor, "q r"]) -> Float[Tensor, "p r"]:
    """Left @ right in float32."""
    if left.dtype == torch.float32:
        return left @ right
    # A processor has no product of half-precision values with a float32 result; there the interpreter tests this.
    return torch.mm(left, right, out_dtype=torch.float32) if left.is_cuda else left.float() @ right.float()
