"""Triton kernels of the fused cross-entropy: the running sum of a tiled product, stopped at each dim, is its logit.

Rows of `x` and `y` are packed (fused_packing.py): `width` columns, of which block k, between two dims, takes the steps
`stops[k-1]` to `stops[k]` of DEPTH columns each, so that no load needs a mask along them. Logits are kept in base 2,
where the exponential is one instruction. An argument that is None leaves no code behind.

Importing this module needs triton; with TRITON_INTERPRET=1 set before, every kernel runs on a processor, in numpy.
WIDEN casts to float32 before every product: the interpreter's product of bfloat16 is wrong (triton 3.9).
"""

import triton
import triton.language as tl

__all__ = ["INTERPRETED", "edge_of", "forward_kernel", "pair_kernel", "take_out", "walk"]

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def walk(
    product: tl.tensor,
    x_rows: tl.tensor,
    y_rows: tl.tensor,
    row_in: tl.tensor,
    column_in: tl.tensor,
    first: tl.tensor,
    last: tl.tensor,
    DEPTH: tl.constexpr,
    WIDEN: tl.constexpr,
) -> tl.tensor:
    """Product + x[:, steps] y[:, steps]^T for the steps first..last-1."""
    depth = tl.arange(0, DEPTH)
    for step in range(first, last):
        place = (step * DEPTH + depth)[None, :]
        left = tl.load(x_rows[:, None] + place, mask=row_in[:, None], other=0.0)
        right = tl.load(y_rows[:, None] + place, mask=column_in[:, None], other=0.0)
        if WIDEN:
            left = left.to(tl.float32)
            right = right.to(tl.float32)
        product = tl.dot(left, tl.trans(right), product, input_precision="ieee")
    return product


@triton.jit
def edge_of(bias: tl.tensor, columns: tl.tensor, column_in: tl.tensor) -> tl.tensor:
    """The bias in base 2, and -infinity beyond the last column: a share of 0 without another comparison."""
    if bias is not None:
        edge = tl.load(bias + columns, mask=column_in, other=float("-inf")) * LOG2_E
    else:
        edge = tl.where(column_in, 0.0, float("-inf"))
    return edge


@triton.jit
def take_out(
    logits: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    row_in: tl.tensor,
    column_in: tl.tensor,
    mask: tl.tensor,
    mask_row: tl.tensor,
    mask_column: tl.tensor,
    query_ids: tl.tensor,
    candidate_ids: tl.tensor,
) -> tl.tensor:
    """The logits, -infinity where the mask or equal ids take a column out of a row."""
    if mask is not None:
        place = rows[:, None].to(tl.int64) * mask_row + columns[None, :].to(tl.int64) * mask_column
        gone = tl.load(mask + place, mask=row_in[:, None] & column_in[None, :], other=0)
        logits = tl.where(gone != 0, float("-inf"), logits)
    if query_ids is not None:
        own = tl.load(query_ids + rows, mask=row_in, other=0)
        theirs = tl.load(candidate_ids + columns, mask=column_in, other=0)
        logits = tl.where(own[:, None] == theirs[None, :], float("-inf"), logits)
    return logits


@triton.jit
def pair_kernel(
    x: tl.tensor,
    y: tl.tensor,
    stops: tl.tensor,
    inverse_x: tl.tensor,
    inverse_y: tl.tensor,
    target: tl.tensor,
    pairs: tl.tensor,
    b: tl.tensor,
    n: tl.tensor,
    width: tl.tensor,
    count: tl.tensor,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
) -> None:
    """The inner product of each row and its own target at every dim, as the logit holds it: pairs [count, b]."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row_in = rows < b
    columns = tl.load(target + rows, mask=row_in, other=0)
    x_rows = x + rows.to(tl.int64) * width
    y_rows = y + columns * width
    depth = tl.arange(0, DEPTH)
    product = tl.zeros([ROWS], tl.float32)
    first = 0
    for k in range(count):
        last = tl.load(stops + k)
        for step in range(first, last):
            place = (step * DEPTH + depth)[None, :]
            left = tl.load(x_rows[:, None] + place, mask=row_in[:, None], other=0.0).to(tl.float32)
            right = tl.load(y_rows[:, None] + place, mask=row_in[:, None], other=0.0).to(tl.float32)
            product += tl.sum(left * right, 1)
        first = last
        like = product
        if inverse_x is not None:
            like = like * tl.load(inverse_x + tl.cast(k, tl.int64) * b + rows, mask=row_in, other=0.0)
            like = like * tl.load(inverse_y + tl.cast(k, tl.int64) * n + columns, mask=row_in, other=0.0)
        tl.store(pairs + tl.cast(k, tl.int64) * b + rows, like, mask=row_in)


@triton.jit
def forward_kernel(
    x: tl.tensor,
    y: tl.tensor,
    stops: tl.tensor,
    inverse_x: tl.tensor,
    inverse_y: tl.tensor,
    bias: tl.tensor,
    target: tl.tensor,
    mask: tl.tensor,
    query_ids: tl.tensor,
    candidate_ids: tl.tensor,
    tops: tl.tensor,
    sums: tl.tensor,
    b: tl.tensor,
    n: tl.tensor,
    width: tl.tensor,
    count: tl.tensor,
    mask_row: tl.tensor,
    mask_column: tl.tensor,
    scale2: tl.tensor,
    tiles_a_split: tl.tensor,
    BOUNDED: tl.constexpr,
    COUNT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    WIDEN: tl.constexpr,
) -> None:
    """Log-sum-exps of the columns that are not the target, apart as 2^tops * sums: both [splits, count, b].

    The target is left out so that a loss near 0 is the logarithm of 1 + something small, not the difference of two
    logits. BOUNDED: no logit exceeds `scale2`, which then stands in for the largest one.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row_in = rows < b
    split = tl.program_id(1)
    own = tl.load(target + rows, mask=row_in, other=-1).to(tl.int32)
    x_rows = x + rows.to(tl.int64) * width
    prefixes = tl.arange(0, COUNT)
    top = tl.full([COUNT, ROWS], float("-inf"), tl.float32)
    total = tl.zeros([COUNT, ROWS], tl.float32)
    for tile in range(split * tiles_a_split, tl.minimum((split + 1) * tiles_a_split, tl.cdiv(n, COLUMNS))):
        columns = tile * COLUMNS + tl.arange(0, COLUMNS)
        column_in = columns < n
        y_rows = y + columns.to(tl.int64) * width
        edge = edge_of(bias, columns, column_in)
        tile_top = tl.full([COUNT, ROWS], float("-inf"), tl.float32)
        tile_total = tl.zeros([COUNT, ROWS], tl.float32)
        product = tl.zeros([ROWS, COLUMNS], tl.float32)
        first = 0
        for k in range(count):
            last = tl.load(stops + k)
            product = walk(product, x_rows, y_rows, row_in, column_in, first, last, DEPTH, WIDEN)
            first = last
            like = product
            if inverse_x is not None:
                of_rows = tl.load(inverse_x + tl.cast(k, tl.int64) * b + rows, mask=row_in, other=0.0)
                of_columns = tl.load(inverse_y + tl.cast(k, tl.int64) * n + columns, mask=column_in, other=0.0)
                like = like * of_rows[:, None] * of_columns[None, :]
            logits = like * scale2 + edge[None, :]
            logits = take_out(
                logits, rows, columns, row_in, column_in, mask, mask_row, mask_column, query_ids, candidate_ids
            )
            logits = tl.where(columns[None, :] == own[:, None], float("-inf"), logits)
            if BOUNDED:
                highest = tl.zeros([ROWS], tl.float32) + scale2
            else:
                highest = tl.max(logits, 1)
            from_top = tl.where(highest == float("-inf"), 0.0, highest)
            summed = tl.sum(tl.exp2(logits - from_top[:, None]), 1)
            here = (prefixes == k)[:, None]
            tile_top = tl.where(here, highest[None, :], tile_top)
            tile_total = tl.where(here, summed[None, :], tile_total)
        new = tl.maximum(top, tile_top)
        from_new = tl.where(new == float("-inf"), 0.0, new)
        total = total * tl.exp2(top - from_new) + tile_total * tl.exp2(tile_top - from_new)
        top = new
    place = (split * count + prefixes[:, None]).to(tl.int64) * b + rows[None, :]
    inside = (prefixes[:, None] < count) & row_in[None, :]
    tl.store(tops + place, top, mask=inside)
    tl.store(sums + place, total, mask=inside)


INTERPRETED = not isinstance(forward_kernel, triton.JITFunction)
"""Whether the kernels run in Triton's interpreter: TRITON_INTERPRET=1 was set when this module was imported."""
