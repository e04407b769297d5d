"""Triton kernels of the fused cross-entropy's gradient; the words and the packing are those of kernels.py.

From the last dim to the first one sum is carried: C_k, the gradients of every prefix that contains the columns of block
k. The products of each prefix are walked anew from its first column, so that they are bit for bit the forward pass's:
D_k = D_{k+1} - x_block y_block^T loses every digit of a prefix that is much shorter than the vector, and saves nothing
if each dim is at least twice the one before.
"""

import triton
import triton.language as tl

from matryoshka_text.nested.kernels import edge_of, take_out, walk

__all__ = ["share_kernel"]

LARGEST_HALF = tl.constexpr(65504.0)


@triton.jit
def _slopes(
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
    log_sums: tl.tensor,
    weights: tl.tensor,
    b: tl.tensor,
    n: tl.tensor,
    width: tl.tensor,
    mask_row: tl.tensor,
    mask_column: tl.tensor,
    scale2: tl.tensor,
    k: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    row_in: tl.tensor,
    column_in: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    WIDEN: tl.constexpr,
) -> tl.tensor:
    """(inner products of prefix k as the logits hold them, slope, slope in the raw inner products times the weight).

    The slope is the loss of a row differentiated in its logits: their softmax. At the target, where it is that less 1,
    it is 0 here, because its part is added in float32 outside (fused_backward.py): it is the largest number of a row,
    and in half precision its rounding would be the error of the gradient.
    """
    x_rows, y_rows = x + rows.to(tl.int64) * width, y + columns.to(tl.int64) * width
    like = tl.zeros([ROWS, COLUMNS], tl.float32)
    like = walk(like, x_rows, y_rows, row_in, column_in, 0, tl.load(stops + k), DEPTH, WIDEN)
    of_prefix = tl.cast(k, tl.int64)
    row_factor = tl.zeros([ROWS], tl.float32) + tl.load(weights + k)
    if inverse_x is not None:
        of_rows = tl.load(inverse_x + of_prefix * b + rows, mask=row_in, other=0.0)
        of_columns = tl.load(inverse_y + of_prefix * n + columns, mask=column_in, other=0.0)
        like = like * of_rows[:, None] * of_columns[None, :]
        row_factor = row_factor * of_rows
    logits = like * scale2 + edge_of(bias, columns, column_in)[None, :]
    logits = take_out(logits, rows, columns, row_in, column_in, mask, mask_row, mask_column, query_ids, candidate_ids)
    log_sum = tl.load(log_sums + of_prefix * b + rows, mask=row_in, other=float("inf"))
    own = tl.load(target + rows, mask=row_in, other=-1).to(tl.int32)
    logits = tl.where(columns[None, :] == own[:, None], float("-inf"), logits)
    slope = tl.exp2(logits - log_sum[:, None])
    graded = slope * row_factor[:, None]
    if inverse_x is not None:
        graded = graded * of_columns[None, :]
    return like, slope, graded


@triton.jit
def _narrow(carried: tl.tensor, RAISE: tl.constexpr, KIND: tl.constexpr) -> tl.tensor:
    """C_k in the type of the products; in float16 raised above its subnormal numbers and kept finite."""
    if KIND == tl.float16:
        carried = tl.minimum(tl.maximum(carried * RAISE, -LARGEST_HALF), LARGEST_HALF)
    return carried.to(KIND)


@triton.jit
def share_kernel(
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
    log_sums: tl.tensor,
    weights: tl.tensor,
    b: tl.tensor,
    n: tl.tensor,
    width: tl.tensor,
    count: tl.tensor,
    mask_row: tl.tensor,
    mask_column: tl.tensor,
    scale2: tl.tensor,
    shares: tl.tensor,
    row_dots: tl.tensor,
    column_dots: tl.tensor,
    bias_sums: tl.tensor,
    first_row: tl.tensor,
    first_column: tl.tensor,
    chunk_rows: tl.tensor,
    chunk_columns: tl.tensor,
    share_row: tl.tensor,
    share_prefix: tl.tensor,
    RAISE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    WIDEN: tl.constexpr,
) -> None:
    """C_k of one chunk of rows and columns, for the matrix products that follow: shares [count, rows, columns].

    And sums over each tile: of slope * like, which the lengths and the scale need, in row_dots [column tiles, count,
    rows] and column_dots [row tiles, count, columns]; of weight * slope in bias_sums [row tiles, columns].
    """
    here, there = tl.program_id(0), tl.program_id(1)
    place_r, place_c = here * ROWS + tl.arange(0, ROWS), there * COLUMNS + tl.arange(0, COLUMNS)
    row_in, column_in = place_r < chunk_rows, place_c < chunk_columns
    rows, columns = first_row + place_r, first_column + place_c
    carried = tl.zeros([ROWS, COLUMNS], tl.float32)
    bias_sum = tl.zeros([COLUMNS], tl.float32)
    for back in range(count):
        k = count - 1 - back
        like, slope, graded = _slopes(
            x, y, stops, inverse_x, inverse_y, bias, target, mask, query_ids, candidate_ids, log_sums, weights,
            b, n, width, mask_row, mask_column, scale2, k, rows, columns, row_in, column_in,
            ROWS, COLUMNS, DEPTH, WIDEN,
        )  # fmt: skip
        if row_dots is not None:
            of_tile = row_dots + (there * count + k).to(tl.int64) * chunk_rows
            tl.store(of_tile + place_r, tl.sum(slope * like, 1), mask=row_in)
        if column_dots is not None:
            of_tile = column_dots + (here * count + k).to(tl.int64) * chunk_columns
            tl.store(of_tile + place_c, tl.sum(slope * like, 0), mask=column_in)
        if bias_sums is not None:
            bias_sum += tl.load(weights + k) * tl.sum(slope, 0)
        if shares is not None:
            carried += graded
            place = shares + tl.cast(k, tl.int64) * share_prefix + place_r[:, None].to(tl.int64) * share_row
            narrow = _narrow(carried, RAISE, shares.dtype.element_ty)
            tl.store(place + place_c[None, :], narrow, mask=row_in[:, None] & column_in[None, :])
    if bias_sums is not None:
        tl.store(bias_sums + here.to(tl.int64) * chunk_columns + place_c, bias_sum, mask=column_in)
