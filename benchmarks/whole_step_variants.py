"""What whole_step.py times: a training loop before its first step, and its loss by itself."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch


@dataclass
class Variant:
    """A training loop that stands before its first step, and the inputs of the steps it takes in turn."""

    name: str
    case: str
    backend: str
    loop: Any
    work: list[Any]
    taken: int = 0

    def step(self) -> Any:
        """One step, done when this returns; the record of what it did."""
        inputs = self.work[self.taken % len(self.work)]
        with replaced(lambda loss: lambda *a, **k: loss(*a, **{"backend": self.backend, **k})):
            launched = self.loop.step(self.taken, inputs)
        self.taken += 1
        record = launched.record(lambda: 1.0)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return record


@contextlib.contextmanager
def replaced(by: Callable[[Any], Any]) -> Iterator[None]:
    """A context in which the objective finds `by(its loss function)` in place of its loss function."""
    from matryoshka_text.nested import nested_cross_entropy

    with mock.patch("matryoshka_text.nested.nested_cross_entropy", by(nested_cross_entropy)):
        yield


def losses_alone(variants: dict[str, Variant]) -> dict[str, Callable[[], None]]:
    """For each variant, its loss forward and backward on the tensors that its next step gives it."""
    return {name: loss_alone(variant) for name, variant in variants.items()}


def loss_alone(variant: Variant) -> Callable[[], None]:
    """The loss of one step of the variant, forward and backward, every call of it."""
    from matryoshka_text.nested import nested_cross_entropy

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def kept(loss: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            calls.append((tuple(map(leaf, given)), {key: leaf(value) for key, value in named.items()}))
            return loss(*given, **named)

        return call

    with replaced(kept):
        variant.loop.step(variant.taken, variant.work[0]).record(lambda: 1.0)

    def run() -> None:
        for given, named in calls:
            for value in (*given, *named.values()):
                if isinstance(value, torch.Tensor):
                    value.grad = None
            nested_cross_entropy(*given, **{"backend": variant.backend, **named}).total.backward()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run


def leaf(value: Any) -> Any:
    """A copy that gets its own gradient where `value` is a tensor that has one; else `value`."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().clone().requires_grad_(value.requires_grad)
