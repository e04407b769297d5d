"""The fast way: one product for all prefixes, loss and gradient in one visit, nothing [b, n] kept."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.nested.loss import NestedLoss
from matryoshka_text.nested.prefixes import Columns, blocks, inverse_norms
from matryoshka_text.nested.targets import Reading, Tile, taken_out_value

__all__ = ["chunked_loss", "panel_columns", "tile_rows"]


@dataclass(frozen=True)
class _Needs:
    rows: bool
    columns: bool
    scale: bool
    bias: bool

    @property
    def shares(self) -> bool:
        """Whether the gradients of the logits outlive the dim they belong to."""
        return self.rows or self.columns or self.bias


def tile_rows(columns: int, device: torch.device) -> int:
    """The number of rows visited at once.

    A tile of 2^20 logits keeps the passes over it, K + 2 matrices of 4 MiB in float32, near the caches of two cores.
    Fewer than 64 rows starve the matrix products; from 2^16 columns on, memory decides. In ms of CPU time of one thread
    of an EPYC (Zen 5, 32 MiB of cache; 2026-11-21): 128, 256, 512 rows by 2048 columns, K = 7, took 282, 274, 276; 32,
    48, 64, 96, 128 rows by 30,522, K = 6, took 593, 589, 558, 627, 652. A GPU has no use for small tiles.
    """
    if device.type != "cpu":
        return max(1, 2**24 // max(columns, 1))
    return max(2**20 // max(columns, 1), min(64, 2**22 // max(columns, 1)), 1)


def panel_columns(rows: int, device: torch.device) -> int | None:
    """The number of columns of a tile that the gradients are carried through at once; None for all of them.

    Between two dims the carried sum is written once and read three times: in panels of 2^19 entries it stays in the
    second-level caches of two cores, which saves 15 of 570 ms on 64 rows by 30,522 columns and K = 6 (as above). Panels
    of fewer than 4096 columns cost more than they save: 2048 by 2048 took 276 ms whole, 293 in panels of 1024.
    """
    return max(2**19 // max(rows, 1), 4096) if device.type == "cpu" else None


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
        self.x = x if reading.unit or scale == 1 else x * scale
        self.weights = (weights / reading.denominator)[:, None]
        count, self.tile_rows = len(self.blocks), _even(len(x), tile_rows(len(y), x.device))
        self.panel = panel_columns(self.tile_rows, x.device) or max(len(y), 1)
        self.losses = x.new_zeros(count, len(x))
        self.product = x.new_empty(self.tile_rows, len(y))
        self.work = torch.empty_like(self.product) if reading.unit or needs.scale else self.product
        # Where the logits without the bias are wanted too, taking a large one out again would cost their digits.
        self.bias_first = bias is not None and self.work is self.product
        # Nothing reads the product after the last dim, unless its logits were not made in another place.
        spare = self.needs.shares and self.work is self.product
        self.shares = [torch.empty_like(self.product) for _ in range(count - spare if needs.shares else 1)]
        self.shares += [self.product] * spare
        self.row_dots = x.new_zeros(count, len(x))
        self.column_dots = x.new_zeros(count, len(y) if reading.unit and needs.columns else 0)
        self.dx, self.columns = torch.zeros_like(x) if needs.rows else None, Columns(y, self.blocks, needs.columns)
        self.dbias = torch.zeros_like(bias) if needs.bias and bias is not None else None
        self.factor = self.weights.expand(count, len(x))
        if reading.unit:
            self.inverse_x, self.inverse_y = inverse_norms(x, reading.dims), inverse_norms(y, reading.dims)
            self.scaled_inverse_x = self.inverse_x * scale
            self.pulls = self.weights.clone()
            if reading.dims[0] == 1:
                self.pulls[0] = 0  # a unit prefix of one coordinate is a sign: only rounding would be left of its pull
            self.factor = self.scaled_inverse_x * self.pulls

    def run(self) -> None:
        """Fill in the losses and the gradients."""
        for start in range(0, len(self.x), self.tile_rows):
            rows = slice(start, min(start + self.tile_rows, len(self.x)))
            tile = self.reading.targets.tile(rows)
            self._start(rows, tile)
            for k in range(len(self.blocks)):
                self._climb(k, rows, tile)
            if self.needs.shares:
                self._descend(rows)
        self._finish()

    def _start(self, rows: slice, tile: Tile) -> None:
        """Add the bias to the raw logits before the products: added after them, its small digits would be lost."""
        product = self.product[: rows.stop - rows.start]
        if self.bias is not None and self.bias_first:
            product.copy_(self.bias.expand_as(product))
        else:
            product.zero_()
        if tile.gone is not None and not self.reading.unit:
            product.masked_fill_(tile.gone, taken_out_value(product.dtype))

    def _climb(self, k: int, rows: slice, tile: Tile) -> None:
        size, block = rows.stop - rows.start, self.blocks[k]
        self.product[:size].addmm_(self.x[rows, block], self.columns.parts[k])
        logits = self._unit_logits(k, rows, tile) if self.reading.unit else self._raw_logits(size)
        share = self.shares[k if self.needs.shares else 0]
        gradient = logits if share is self.product else share[:size]
        self.losses[k, rows] = tile.compare(logits, gradient)
        if self.needs.scale or (self.reading.unit and (self.needs.rows or self.needs.columns)):
            self._dot(k, rows, gradient)

    def _raw_logits(self, size: int) -> Float[Tensor, "r n"]:
        if self.bias is None or self.bias_first:
            return self.product[:size]
        return torch.add(self.product[:size], self.bias, out=self.work[:size])

    def _scaled_cosines(self, k: int, rows: slice) -> Float[Tensor, "r n"]:
        size = rows.stop - rows.start
        work = torch.mul(self.product[:size], self.inverse_y[k], out=self.work[:size])
        return work.mul_(self.scaled_inverse_x[k, rows, None])

    def _unit_logits(self, k: int, rows: slice, tile: Tile) -> Float[Tensor, "r n"]:
        work = self._scaled_cosines(k, rows)
        if self.bias is not None:
            work.add_(self.bias)
        return work if tile.gone is None else work.masked_fill_(tile.gone, taken_out_value(work.dtype))

    def _dot(self, k: int, rows: slice, gradient: Float[Tensor, "r n"]) -> None:
        """Keep sum_j and sum_i of (gradient of the logit) * (logit without bias)."""
        size = len(gradient)
        work = self.work[:size]
        if not self.reading.unit:
            torch.mul(self.product[:size], gradient, out=work)
        elif self.bias is None:
            work.mul_(gradient)
        else:
            self._scaled_cosines(k, rows).mul_(gradient)
        self.row_dots[k, rows] = work.sum(1)
        if self.column_dots.numel():
            self.column_dots[k] += work.sum(0)

    def _descend(self, rows: slice) -> None:
        for start in range(0, self.product.shape[1], self.panel):
            self._descend_panel(rows, slice(start, start + self.panel))

    def _descend_panel(self, rows: slice, panel: slice) -> None:
        carried: Tensor | None = None
        for k in reversed(range(len(self.blocks))):
            own, factor = self.shares[k][: rows.stop - rows.start, panel], self.factor[k, rows, None]
            if self.reading.unit:
                if self.dbias is not None:
                    self.dbias[panel].add_(self.weights[k] * own.sum(0))
                own.mul_(self.inverse_y[k, panel])
            carried = own.mul_(factor) if carried is None else carried.addcmul_(own, factor)
            if self.dx is not None:
                self.columns.add_product(carried, k, panel, out=self.dx[rows, self.blocks[k]])
            if self.columns.gradients:
                self.columns.gradients[k][:, panel].addmm_(self.x[rows, self.blocks[k]].T, carried)
        if self.dbias is not None and carried is not None and not self.reading.unit:
            self.dbias[panel].add_(carried.sum(0))

    def _finish(self) -> None:
        self.dy = self.columns.whole_gradient()
        if not self.reading.unit:
            if self.dx is not None and self.scale != 1:
                self.dx.mul_(self.scale)
            return
        if self.dx is not None:
            self._leave_directions(self.dx, self.x, self.row_dots * self.inverse_x.square())
        if self.dy is not None:
            self._leave_directions(self.dy, self.columns.vectors, self.column_dots * self.inverse_y.square())

    def _leave_directions(self, gradient: Tensor, vectors: Tensor, along: Float[Tensor, "k b"]) -> None:
        """Remove from the gradient, at each dim, the part that would only lengthen the prefix."""
        carried = (along * self.pulls).flip(0).cumsum(0).flip(0)
        for part, block in zip(carried, self.blocks, strict=True):
            gradient[:, block].addcmul_(vectors[:, block], part[:, None], value=-1)


def _even(rows: int, most: int) -> int:
    """Rows of a tile, such that the last tile has about as many as the others."""
    return max(1, -(-rows // max(1, -(-rows // most))))


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
        visit = _Visit(
            x=x,
            y=y,
            weights=weights,
            scale=factor,
            bias=bias,
            reading=reading,
            needs=_Needs(rows, columns, of_scale, of_bias),
        )
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
        # A factor of 1 is not worth a copy of what is as large as the vectors; on a GPU to look would be to wait.
        same = incoming.is_cpu and incoming.item() == 1
        found = (None if not need else kept if same and kept.ndim == 2 else incoming * kept for kept, need in needed)
        return *found, None, None


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
