"""The layout that the fused kernels read: every block between two dims begins at a whole step of columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from matryoshka_text.nested.prefixes import ZERO

__all__ = ["Layout", "Packed", "layout_of", "pack", "unpack"]

DEPTHS = (16, 32, 64)
STEP_COST = 8
"""The fixed cost of a step, in columns: loads that wait, a product too short to fill the tensor cores.

A guess, not measured: it takes steps of 32 for dims 12, 24, 48, …, 768 and steps of 64 for dims 64, 128, …, 768.
"""
MOST_STEP_BYTES = 128  # float32 steps of 64 columns make the kernels of gradients spill (compiled for an H100)
LARGEST_EXPONENT = 14  # entries below 2^14, so that float16 holds them


@dataclass(frozen=True)
class Layout:
    """Blocks between `dims`, each padded with zeros to whole steps of `depth` columns."""

    dims: tuple[int, ...]
    depth: int

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The number of steps up to the end of each block."""
        found, total = [], 0
        for start, stop in zip((0, *self.dims), self.dims, strict=False):
            total += -(-(stop - start) // self.depth)
            found.append(total)
        return tuple(found)

    @property
    def width(self) -> int:
        """The number of columns of packed vectors."""
        return self.steps[-1] * self.depth

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """For each block, its columns in the vectors and in the packed vectors, padding left out."""
        for start, stop, step in zip((0, *self.dims), self.dims, (0, *self.steps), strict=False):
            yield slice(start, stop), slice(step * self.depth, step * self.depth + stop - start)

    def stops(self, device: torch.device) -> Int[Tensor, " k"]:
        """`steps` where the kernels can read them."""
        return _stops(self.steps, device)


@lru_cache(maxsize=64)
def _stops(steps: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(steps, dtype=torch.int32, device=device)


def layout_of(dims: tuple[int, ...], dtype: torch.dtype) -> Layout:
    """The layout whose steps cost least: short ones leave little padding, long ones are better to compute with."""
    layouts = (Layout(dims, depth) for depth in DEPTHS if depth * dtype.itemsize <= MOST_STEP_BYTES)
    return min(layouts, key=lambda layout: layout.width + layout.steps[-1] * STEP_COST)


class Packed(NamedTuple):
    """Vectors in a layout; for unit-length prefixes, with 1 / length of each prefix of the rows as they are packed.

    Such rows are multiplied by `growth`, a power of two, which changes no digit: the length of a row is its own affair,
    and products with a gradient must neither overflow nor underflow in float16.
    """

    values: Float[Tensor, "b w"]
    inverse: Float[Tensor, "k b"] | None
    growth: Float[Tensor, " b"] | None


def pack(vectors: Float[Tensor, "b d"], layout: Layout, dtype: torch.dtype, unit: bool) -> Packed:
    """`vectors` in `layout`, held in `dtype`; 1 / length is 0 if a prefix of `vectors` is shorter than 1e-12."""
    values = vectors.new_zeros(len(vectors), layout.width, dtype=dtype)
    growth = _growth(vectors, layout, dtype) if unit else None
    for block, packed in layout.blocks():
        part = vectors[:, block]
        values[:, packed] = part if growth is None else part.float() * growth[:, None]
    return Packed(values, None if growth is None else _inverse_lengths(values, growth, layout), growth)


def _growth(vectors: Float[Tensor, "b d"], layout: Layout, dtype: torch.dtype) -> Float[Tensor, " b"]:
    """The power of two that brings the largest entry of a row's first prefix to 1..2, and none of its entries to 2^14.

    The first prefix that is not 0, so that 1 / length is at most 1 at every dim unless a prefix is 2^14 times longer
    than another. Such a row is not made smaller in float16, where its short prefix would lose digits.
    """
    largest = torch.stack([vectors[:, block].abs().amax(1).float() for block, _ in layout.blocks()]).cummax(0).values
    smallest = largest.masked_fill(largest < ZERO, torch.inf).amin(0)
    empty = smallest.isinf()
    first, last = (torch.frexp(v.masked_fill(empty, 1.0)).exponent for v in (smallest, largest[-1]))
    most = LARGEST_EXPONENT - last
    exponent = torch.minimum(1 - first, most.clamp_min(0) if dtype == torch.float16 else most).clamp(-126, 126)
    return torch.ldexp(torch.ones_like(smallest), exponent)


def _inverse_lengths(values: Float[Tensor, "b w"], growth: Float[Tensor, " b"], layout: Layout) -> Float[Tensor, "k b"]:
    parts = (values[:, packed].float() for _, packed in layout.blocks())
    squares = torch.stack([torch.einsum("bd,bd->b", part, part) for part in parts]).cumsum(0)
    empty = squares.sqrt() < ZERO * growth
    return torch.where(empty, 0.0, torch.where(empty, 1.0, squares).rsqrt())


def unpack(
    gradient: Float[Tensor, "b w"], packed: Packed, layout: Layout, factor: Tensor, width: int, dtype: torch.dtype
) -> Float[Tensor, "b d"]:
    """The gradient of `factor` * loss in the vectors, `width` columns of `dtype`, from that of the loss in `packed`."""
    result = gradient.new_zeros(len(gradient), width, dtype=dtype)
    factors = factor if packed.growth is None else (factor * packed.growth)[:, None]
    for block, place in layout.blocks():
        result[:, block] = gradient[:, place] * factors
    return result
