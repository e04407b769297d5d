"""A stream of data and the objectives that read it: one batch in, gradients on the trained parameters out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from matryoshka_text.errors import TrainingError
from matryoshka_text.training.processes import Processes

__all__ = ["Contribution", "PerDim", "Stream", "require_finite", "stopped"]

PerDim = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Contribution:
    """What one batch of a stream added to a step: losses are global, tokens this process's own."""

    loss: float
    per_dim: PerDim
    tokens: int
    rows: int


class Stream(Protocol):
    """A source of batches whose losses flow back into what is trained."""

    name: str

    def places(self, rows: Sequence[int]) -> list[str]:
        """Where the rows of a batch came from."""

    def contribute(self, step: int, rows: Sequence[int]) -> Contribution:
        """Add the gradient of this process's share of the loss on global batch `rows` to the parameters' own."""


def require_finite(
    total: Tensor, processes: Processes, step: int, places: Sequence[str], bad: Sequence[str] = ()
) -> float:
    """The global loss; `TrainingError` before a NaN does harm, naming the rows that are `bad`, or all."""
    loss = float(processes.summed(total.detach().reshape(1))[0])
    if math.isfinite(loss):
        return loss
    raise TrainingError(stopped(f"the loss is {loss}", step, bad or places))


def stopped(what: str, step: int, places: Sequence[str]) -> str:
    """The message of a run that had to stop."""
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return (
        f"step {step + 1}: {what}; rows of this batch to look at: {', '.join(places[:5])}{more}. Nothing was updated, "
        "and checkpoints written before are kept; lower optimizer.learning_rate, or raise the temperature"
    )
