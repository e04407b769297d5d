"""The fast way: one product for all prefixes, loss and gradient in one visit, nothing [b, n] kept."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.nested.loss import NestedLoss
from matryoshka_text.nested.prefixes import blocks, inverse_norms
from matryoshka_text.nested.targets import Softmax, Targets, Tile, taken_out_value

__all__ = ["Reading", "chunked_loss", "tile_rows"]


@dataclass(frozen=True)
class Reading:
    """How the vectors are read: prefixes cut at `dims`, at unit length or raw, compared with `targets`.

    `denominator` divides the sum over rows.
    """

    dims: tuple[int, ...]
    unit: bool
    denominator: float
    targets: Targets


@dataclass(frozen=True)
class _Needs:
    rows: bool
    columns: bool
    scale: bool
    bias: bool

    @property
    def vectors(self) -> bool:
        return self.rows or self.columns

    @property
    def any(self) -> bool:
        return self.vectors or self.scale or self.bias


def tile_rows(columns: int, device: torch.device) -> int:
    """The number of rows visited at once.

    A tile of 2^20 logits keeps the passes over it, K + 2 matrices of 4 MiB in float32, near the caches of two cores.
    Fewer than 64 rows starve the matrix products; from 2^16 columns on, memory decides. On one core of an EPYC (Zen 5),
    tiles of 64, 128, 256, 512, 1024 rows by 2048 columns took 300, 287, 275, 271, 304 ms (2026-11-21). A GPU has no use
    for small tiles.
    """
    if device.type != "cpu":
        return max(1, 2**24 // max(columns, 1))
    return max(2**20 // max(columns, 1), min(64, 2**22 // max(columns, 1)), 1)


class _Visit:
    """One walk over the rows: the losses, and the gradients of their weighted sum in the inputs that need one.

    Going up the dims in a tile, the logits of every prefix are partial sums of one product. Going down, the columns
    between two dims get the gradient of every prefix that contains them, so that carried sums give one product a side.
    """

    def __init__(
        self,
        x: Float[Tensor, "b d"],
        y: Float[Tensor, "n d"],
        weights: Float[Tensor, " k"],
        scale: float,
        bias: Float[Tensor, " n"] | None,
        reading: Reading,
        needs: _Needs,
    ) -> None:
        self.reading, self.needs, self.scale, self.bias = reading, needs, scale, bias
        self.blocks = list(blocks(reading.dims))
        # Raw logits carry the scale in x; for unit-length prefixes it sits in the factor of each row.
        self.x, self.y = (x if reading.unit or scale == 1 else x * scale), y
        self.weights = (weights / reading.denominator)[:, None]
        count, tile = len(self.blocks), min(tile_rows(len(y), x.device), max(len(x), 1))
        self.tile_rows = tile
        self.losses = x.new_zeros(count, len(x))
        self.product, self.work = x.new_empty(tile, len(y)), x.new_empty(tile, len(y))
        self.shares = x.new_empty(count if needs.vectors else 1, tile, len(y))
        self.row_dots = x.new_zeros(count, len(x))
        self.column_dots = x.new_zeros(count, len(y) if reading.unit and needs.columns else 0)
        self.dx, self.dy = (torch.zeros_like(v) if need else None for v, need in ((x, needs.rows), (y, needs.columns)))
        self.dbias = torch.zeros_like(bias) if needs.bias and bias is not None else None
        self.factor = self.weights.expand(count, len(x))
        if reading.unit:
            self.inverse_x, self.inverse_y = inverse_norms(x, reading.dims), inverse_norms(y, reading.dims)
            self.scaled_inverse_x = self.inverse_x * scale
            self.factor = self.scaled_inverse_x * self.weights

    def run(self) -> None:
        """Nothing; fills the losses and the gradients."""
        for start in range(0, len(self.x), self.tile_rows):
            rows = slice(start, min(start + self.tile_rows, len(self.x)))
            tile = self.reading.targets.tile(rows)
            for k in range(len(self.blocks)):
                self._climb(k, rows, tile)
            if self.needs.vectors:
                self._descend(rows)
        self._finish()

    def _climb(self, k: int, rows: slice, tile: Tile) -> None:
        size, block = rows.stop - rows.start, self.blocks[k]
        self.product[:size].addmm_(self.x[rows, block], self.y[:, block].T, beta=min(k, 1))
        softmax = Softmax.of(self._logits(k, rows, tile), self.shares[k if self.needs.vectors else 0, :size])
        self.losses[k, rows] = tile.compare(softmax)
        if self.dbias is not None:
            self.dbias.add_(self.weights[k] * softmax.share.sum(0))
        if self.needs.scale or (self.reading.unit and self.needs.vectors):
            self._dot(k, rows, softmax.share)

    def _logits(self, k: int, rows: slice, tile: Tile) -> Float[Tensor, "r n"]:
        size = rows.stop - rows.start
        product, work = self.product[:size], self.work[:size]
        if self.reading.unit:
            torch.mul(product, self.inverse_y[k], out=work).mul_(self.scaled_inverse_x[k, rows, None])
            if self.bias is not None:
                work.add_(self.bias)
        elif self.bias is not None:
            torch.add(product, self.bias, out=work)
        elif tile.gone is not None:
            work.copy_(product)
        else:
            return product
        return work if tile.gone is None else work.masked_fill_(tile.gone, taken_out_value(work.dtype))

    def _dot(self, k: int, rows: slice, gradient: Float[Tensor, "r n"]) -> None:
        """Nothing; keeps sum_j and sum_i of (gradient of the logit) * (logit without bias)."""
        work = self.work[: len(gradient)]
        if self.reading.unit:
            work = work if self.bias is None else work.sub_(self.bias)
            work.mul_(gradient)
        else:
            torch.mul(self.product[: len(gradient)], gradient, out=work)
        self.row_dots[k, rows] = work.sum(1)
        if self.column_dots.numel():
            self.column_dots[k] += work.sum(0)

    def _descend(self, rows: slice) -> None:
        carried: Tensor | None = None
        for k, block in reversed(list(enumerate(self.blocks))):
            own, factor = self.shares[k, : rows.stop - rows.start], self.factor[k, rows, None]
            if self.reading.unit:
                own.mul_(self.inverse_y[k])
            carried = own.mul_(factor) if carried is None else carried.addcmul_(own, factor)
            if self.dx is not None:
                torch.mm(carried, self.y[:, block], out=self.dx[rows, block])
            if self.dy is not None:
                self.dy[:, block].addmm_(carried.T, self.x[rows, block])

    def _finish(self) -> None:
        if not self.reading.unit:
            if self.dx is not None and self.scale != 1:
                self.dx.mul_(self.scale)
            return
        if self.dx is not None:
            self._leave_directions(self.dx, self.x, self.row_dots * self.inverse_x.square())
        if self.dy is not None:
            self._leave_directions(self.dy, self.y, self.column_dots * self.inverse_y.square())

    def _leave_directions(self, gradient: Tensor, vectors: Tensor, along: Float[Tensor, "k b"]) -> None:
        """Nothing; takes from the gradient, at each dim, what would only lengthen the prefix."""
        carried = (along * self.weights).flip(0).cumsum(0).flip(0)
        for part, block in zip(carried, self.blocks, strict=True):
            gradient[:, block].addcmul_(vectors[:, block], part[:, None], value=-1)


class _Chunked(torch.autograd.Function):
    """The loss as a function of vectors, weights, scale and bias; its gradient is formed together with its value."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        reading: Reading,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        rows, columns, _, of_scale, of_bias = (need and with_gradient for need in ctx.needs_input_grad[:5])
        factor = scale.item()
        visit = _Visit(x, y, weights, factor, bias, reading, _Needs(rows, columns, of_scale, of_bias))
        visit.run()
        per_dim = visit.losses.sum(1) / reading.denominator
        dscale = (visit.row_dots * visit.weights).sum() / factor if of_scale else None
        ctx.save_for_backward(visit.dx, visit.dy, per_dim if with_gradient else None, dscale, visit.dbias)
        ctx.mark_non_differentiable(per_dim)
        return (weights * per_dim).sum(), per_dim

    @staticmethod
    def backward(ctx: Any, incoming: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a nested loss of the chunked backend can be differentiated once, and backward was called with "
                "create_graph=True; use backend='reference' for second derivatives"
            )
        # The inputs of the graph may be half precision; what is kept here is float32 until it has met the loss scale.
        needed = zip(ctx.saved_tensors, ctx.needs_input_grad[:5], strict=True)
        return *(incoming * kept if need else None for kept, need in needed), None, None


def chunked_loss(
    x: Float[Tensor, "b d"],
    y: Float[Tensor, "n d"],
    weights: Float[Tensor, " k"],
    scale: Float[Tensor, ""],
    bias: Float[Tensor, " n"] | None,
    reading: Reading,
) -> NestedLoss:
    """The nested loss of `x` against `y`, once differentiable; see nested_cross_entropy for the formula.

    With D_m the inner products of the prefixes: D_{m_k} = D_{m_{k-1}} + x[:, block_k] y[:, block_k]^T, and with
    dD_m = dL/dD_m, dx[:, block_k] = (sum_{k' >= k} dD_{m_k'}) y[:, block_k]: two facts about nested prefixes
    (arXiv:2205.13147 gives the loss, not this way to compute it).
    """
    total, per_dim = _Chunked.apply(x, y, weights, scale, bias, reading, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return NestedLoss(total, per_dim)
