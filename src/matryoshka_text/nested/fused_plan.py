"""What the fused kernels are given: packed vectors, targets, and the sizes of the tiles they work on."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import e, log2
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from matryoshka_text.nested.fused_packing import Layout, Packed, layout_of, pack
from matryoshka_text.nested.kernels import INTERPRETED
from matryoshka_text.nested.targets import HardTargets, Reading

__all__ = ["Operands", "Plan", "Tiles", "on_device", "operands_of", "plan_of", "tiles_for"]


@dataclass(frozen=True)
class Tiles:
    """A program's tile, `rows` by `columns`; the warps that share it, the steps along d that are loaded ahead."""

    rows: int
    columns: int
    warps: int
    stages: int


def tiles_for(dtype: torch.dtype, b: int, n: int) -> Tiles:
    """Tiles for an H100, by counts and by what the compiler reports, not measured.

    In half precision 128 x 128 with 8 warps: the float32 product takes 64 registers of a thread, and so does the sum
    that backward carries. A smaller tile reads x and y too often for the cache (at d = 768 this one reads 24 bytes a
    logit and walk). Compiled for compute capability 9.0 by triton 3.6, the forward kernel spills nothing, those of the
    gradient 300 to 750 bytes a thread, and the same at half the side. In float32, without tensor cores, 64 x 64 spills
    nothing.
    """
    side = 64 if dtype == torch.float32 else 128
    rows, columns = (min(side, max(16, 1 << (size - 1).bit_length())) for size in (max(b, 1), max(n, 1)))
    return Tiles(rows, columns, 8 if rows * columns >= 64 * 64 else 4, 3)


@dataclass(frozen=True)
class Plan:
    """How the vectors are read, apart from what they hold."""

    layout: Layout
    dtype: torch.dtype
    tiles: Tiles
    unit: bool
    scale: float
    denominator: float

    @property
    def constants(self) -> dict[str, Any]:
        """The arguments of every tile kernel that are settled when it is compiled or started."""
        tiles = self.tiles
        widen = INTERPRETED and self.dtype == torch.bfloat16
        settings = {"num_warps": tiles.warps, "num_stages": tiles.stages}
        return {"ROWS": tiles.rows, "COLUMNS": tiles.columns, "DEPTH": self.layout.depth, "WIDEN": widen, **settings}


def plan_of(reading: Reading, dtype: torch.dtype, size: tuple[int, int], scale: float) -> Plan:
    """The plan for vectors of `dtype`; `size`: how many rows and columns."""
    return Plan(
        layout=layout_of(reading.dims, dtype),
        dtype=dtype,
        tiles=tiles_for(dtype, *size),
        unit=reading.unit,
        scale=scale,
        denominator=reading.denominator,
    )


class Operands(NamedTuple):
    """The tensors that all kernels read, or None if there is nothing to read."""

    x: Float[Tensor, "b w"]
    y: Float[Tensor, "n w"]
    inverse_x: Float[Tensor, "k b"] | None
    inverse_y: Float[Tensor, "k n"] | None
    growth_x: Float[Tensor, " b"] | None
    growth_y: Float[Tensor, " n"] | None
    bias: Float[Tensor, " n"] | None
    target: Int[Tensor, " b"]
    mask: Shaped[Tensor, "b n"] | None
    query_ids: Int[Tensor, " b"] | None
    candidate_ids: Int[Tensor, " n"] | None

    @property
    def packed_x(self) -> Packed:
        """The rows, as they were packed."""
        return Packed(self.x, self.inverse_x, self.growth_x)

    @property
    def packed_y(self) -> Packed:
        """The columns, as they were packed."""
        return Packed(self.y, self.inverse_y, self.growth_y)

    def arguments(self, plan: Plan) -> dict[str, Any]:
        """The arguments that all tile kernels have in common."""
        read = {name: value for name, value in self._asdict().items() if not name.startswith("growth")}
        strides = (0, 0) if self.mask is None else self.mask.stride()
        return read | {
            "stops": plan.layout.stops(self.x.device),
            "b": len(self.x),
            "n": len(self.y),
            "width": plan.layout.width,
            "count": len(plan.layout.dims),
            "mask_row": strides[0],
            "mask_column": strides[1],
            "scale2": plan.scale * log2(e),
            **plan.constants,
        }


def operands_of(query: Tensor, candidate: Tensor, bias: Tensor | None, targets: HardTargets, plan: Plan) -> Operands:
    """The tensors as the kernels read them."""
    x, y = (pack(vectors.detach(), plan.layout, plan.dtype, plan.unit) for vectors in (query, candidate))
    return Operands(
        x=x.values,
        y=y.values,
        inverse_x=x.inverse,
        inverse_y=y.inverse,
        growth_x=x.growth,
        growth_y=y.growth,
        bias=None if bias is None else bias.detach().contiguous(),
        target=targets.target.contiguous(),
        mask=None if targets.mask is None else targets.mask.view(torch.uint8),
        query_ids=None if targets.query_ids is None else targets.query_ids.contiguous(),
        candidate_ids=None if targets.candidate_ids is None else targets.candidate_ids.contiguous(),
    )


def on_device(tensor: Tensor) -> AbstractContextManager[Any]:
    """The context in which kernels are started on the tensor's own GPU, not on the current one."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
