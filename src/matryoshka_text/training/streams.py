"""A stream of data and the objectives that read it: batches in, gradients on the trained parameters out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.recipe import Recipe

__all__ = ["Contribution", "PerDim", "Prepared", "Rows", "Stream", "advice", "stopped"]

PerDim = dict[str, dict[int, float]]
Rows = Sequence[int]


@dataclass(frozen=True)
class Prepared:
    """What a stream takes into one step: the rows of each global batch (one, or as many as are accumulated).

    `inputs` is the stream's own: token ids in chunks, formed ahead of time, of this process's share of each batch.
    """

    rows: list[Rows]
    inputs: Any

    @property
    def count(self) -> int:
        """Rows of all the global batches."""
        return sum(map(len, self.rows))


@dataclass(frozen=True)
class Contribution:
    """What a stream added to a step, as tensors that the host has not waited for.

    `loss` and `per_dim` are this process's share (the shares of all processes add up to the global losses, in nats for
    the softmax objectives), `dims` the lengths of each objective's row of `per_dim`; `tokens` are this process's own.
    `bad` gives the places, among a batch's rows, of vectors that are no finite numbers.
    """

    loss: Float[Tensor, ""]
    per_dim: dict[str, Float[Tensor, " k"]]
    dims: dict[str, tuple[int, ...]]
    tokens: int
    rows: int
    bad: Callable[[], list[str]] | None = None

    @property
    def flat(self) -> Float[Tensor, " values"]:
        """Loss, then every objective's losses: what is summed over the processes."""
        return torch.cat([self.loss.reshape(1).float(), *(row.float() for row in self.per_dim.values())])

    def table(self, values: Sequence[float]) -> PerDim:
        """The losses by objective and dim, from `flat` as it was summed, its first entry left out."""
        rest = iter(values)
        return {name: {dim: next(rest) for dim in dims} for name, dims in self.dims.items()}


class Stream(Protocol):
    """A source of batches whose losses flow back into what is trained."""

    name: str

    def places(self, rows: Rows) -> list[str]:
        """Where the rows of a batch came from."""

    def prepare(self, step: int, batches: list[Rows]) -> Prepared:
        """The step's inputs: a function of recipe, step and rows only, so that another thread can form it ahead."""

    def contribute(self, step: int, prepared: Prepared) -> Contribution:
        """Add the gradient of this process's share of the loss to the parameters' own, averaged over the batches."""


def advice(recipe: Recipe) -> str:
    """What to change if a number is no longer finite: the settings that are far from what works, if there are any."""
    optimizer = recipe.optimizer
    found = {
        "optimizer.learning_rate": (optimizer.learning_rate, 1e-2),
        "optimizer.head_learning_rate": (optimizer.head_learning_rate, 1.0),
        "optimizer.weight_decay": (optimizer.weight_decay, 10.0),
        **{f"objectives[{place}].weight": (spec.weight, 1e4) for place, spec in enumerate(recipe.objectives)},
        **{f"weights[{place}]": (weight, 1e4) for place, weight in enumerate(recipe.factors)},
    }
    far = [f"{key}, which is {value:g}" for key, (value, most) in found.items() if value > most]
    return f"lower {', and '.join(far)}" if far else "lower optimizer.learning_rate, or raise the temperature"


def stopped(what: str, step: int, places: Sequence[str], way_out: str) -> str:
    """The message of a run that had to stop; `way_out` is what to change."""
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return (
        f"step {step + 1}: {what}; rows of this batch to look at: {', '.join(places[:5])}{more}. Nothing was updated, "
        f"and checkpoints written before are kept; {way_out}"
    )
