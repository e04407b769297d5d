"""The average of the trained weights along a run."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from matryoshka_text.build.parts import Trained
from matryoshka_text.recipe import Averaging

__all__ = ["RunningAverage"]


class RunningAverage:
    """The uniform average of the trained weights after steps first, first + every, …, in float32.

    `count` is how many states it holds, 0 until it begins. Without a section it does nothing.
    """

    def __init__(self, section: Averaging | None, trained: Trained, steps: int) -> None:
        """`trained` has the weights that the run starts from; `steps` is how many the run takes at most."""
        self.section, self.count = section, 0
        self.first = math.floor(section.start * steps) + 1 if section is not None else 0
        self._weights = {name: p for name, p in trained.named_parameters() if p.requires_grad} if section else {}
        self._mean: dict[str, Tensor] = {}
        base = self._weights if section is not None and section.base_share else {}
        self._start = {name: p.detach().clone() for name, p in base.items() if name.startswith("encoder.")}

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The average by parameter, for a checkpoint; empty until it begins."""
        return self._mean

    def count_after(self, done: int) -> int:
        """How many states it holds after `done` steps."""
        if self.section is None or done < self.first:
            return 0
        return (done - self.first) // self.section.every + 1

    def restore(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Go on from a checkpoint's `tensors`, an average of `count` states."""
        self.count = count
        self._mean = {name: tensors[name].to(p.device, p.dtype) for name, p in self._weights.items() if count}

    @torch.no_grad()
    def update(self, done: int) -> None:
        """Take the weights in where the state after `done` steps counts."""
        if self.section is None or done < self.first or (done - self.first) % self.section.every:
            return
        self.count += 1
        if self.count == 1:
            self._mean = {name: p.detach().clone() for name, p in self._weights.items()}
        else:
            for name, p in self._weights.items():
                self._mean[name].lerp_(p, 1 / self.count)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the trained weights are those that would be exported; afterwards, bit for bit what they were.

        (1 - base_share) x average + base_share x start; the weights as they are take the place of an average that has
        not begun.
        """
        if not self._mean and not self._start:
            yield
            return
        kept = {name: p.detach().clone() for name, p in self._weights.items()}
        try:
            self._put({name: self._exported(name, weight) for name, weight in kept.items()})
            yield
        finally:
            self._put(kept)

    def _exported(self, name: str, weight: Tensor) -> Tensor:
        found = self._mean.get(name, weight)
        if name not in self._start or self.section is None:
            return found
        return torch.lerp(found, self._start[name], self.section.base_share)

    @torch.no_grad()
    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, p in self._weights.items():
            p.copy_(tensors[name])
