"""What the processes of a run do together: shares of a batch, sums, and gradients added up."""

from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Processes", "seed_of"]


class Pinnable(Protocol):
    """A part of a step's inputs that can lie where a GPU reads it by itself."""

    def pinned(self) -> Self:
        """The same in pinned memory."""


Part = TypeVar("Part", bound=Pinnable)


class Processes:
    """This process among the others.

    Gradients are summed over processes by hand: each process's loss is its own rows' share of the global loss, so no
    mean has to be undone, and the first pass of gradient caching leaves no graph for a wrapper to watch.
    """

    def __init__(self, accelerator: Accelerator, *, bf16: bool) -> None:
        """`bf16` runs the models' passes in it."""
        self.accelerator, self._bf16 = accelerator, bf16
        self.count, self.index, self.device = accelerator.num_processes, accelerator.process_index, accelerator.device

    @property
    def products(self) -> torch.dtype:
        """The type of the large products of a loss: bf16 on a GPU that runs the passes in it, as autocast would."""
        return torch.bfloat16 if self._bf16 and self.device.type == "cuda" else torch.float32

    def autocast(self) -> torch.autocast:
        """The precision of a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bf16)

    def ready(self, parts: Sequence[Part]) -> list[Part]:
        """The parts of a step's inputs as the device takes them without the host waiting."""
        return [part.pinned() if self.device.type == "cuda" else part for part in parts]

    def share(self, rows: int) -> slice:
        """Which of a global batch's rows this process answers for."""
        each = rows // self.count
        return slice(self.index * each, (self.index + 1) * each)

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        result: Tensor = self.accelerator.reduce(tensor.to(self.device, non_blocking=True), reduction="sum")
        return result

    def gathered(self, tensor: Float[Tensor, "rows ..."]) -> Float[Tensor, "processes rows ..."]:
        """Every process's tensor, without gradient."""
        parts: Tensor = self.accelerator.gather(tensor.detach().contiguous())
        return parts.view(self.count, *tensor.shape)

    def add_up_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients of all processes, in place."""
        if self.count == 1:
            return
        # A head may have had no row in one process, and none at all has a gradient in a pooler that is not read.
        has = self.summed(torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)).tolist()
        moved = [p for p, count in zip(parameters, has, strict=True) if count]
        flat = self.summed(torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in moved]))
        for parameter, part in zip(moved, torch.split(flat, [p.numel() for p in moved]), strict=True):
            parameter.grad = part.view_as(parameter).clone()


def seed_of(seed: int, step: int, rank: int, stream: int) -> int:
    """The seed of one process's dropout in one stream of one step."""
    return (seed * 1_000_003 + step) * 4099 + rank + stream * (1 << 48)
