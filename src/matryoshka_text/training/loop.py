"""The training loop: one step is a batch of each stream, gradients added up, one update."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from matryoshka_text.errors import TrainingError
from matryoshka_text.heads.trained import Trained
from matryoshka_text.recipe import Recipe
from matryoshka_text.training.processes import Processes
from matryoshka_text.training.streams import Contribution, PerDim, Stream, stopped

__all__ = ["Loop", "StepRecord"]


@dataclass
class StepRecord:
    """What one step did: losses are means over the global batch, in nats for the softmax objectives.

    `per_dim` has a loss for each dim that the step read.
    """

    step: int
    loss: float
    per_dim: PerDim
    learning_rate: float
    gradient_norm: float
    tokens: int
    pairs: int
    seconds: float
    weights: PerDim

    def line(self) -> dict[str, Any]:
        """The record as a line of metrics.jsonl."""
        learned = {"weights": _by_text(self.weights)} if self.weights else {}
        return {
            "step": self.step,
            "loss": self.loss,
            "per_dim": _by_text(self.per_dim),
            **learned,
            "learning_rate": self.learning_rate,
            "gradient_norm": self.gradient_norm,
            "tokens_per_second": round(self.tokens / self.seconds, 1),
            "pairs_per_second": round(self.pairs / self.seconds, 2),
        }


def _by_text(table: PerDim) -> dict[str, dict[str, float]]:
    return {name: {str(dim): value for dim, value in row.items()} for name, row in table.items()}


class Loop:
    """Everything a step needs. Processes share the plan of global batches, and each embeds its own slice of one."""

    def __init__(
        self,
        recipe: Recipe,
        trained: Trained,
        streams: Mapping[str, Stream],
        optimizer: torch.optim.Optimizer,
        rate: Callable[[int], float],
        processes: Processes,
    ) -> None:
        """All parts are built already; the loop owns none of them."""
        self.recipe, self.trained, self.streams = recipe, trained, streams
        self.optimizer, self.rate, self.processes = optimizer, rate, processes
        self.trainable = [p for p in trained.parameters() if p.requires_grad]

    def step(self, step: int, batches: Mapping[str, list[int]]) -> StepRecord:
        """One update from a global batch of each stream; `step` counts from 0. `TrainingError` before a NaN harms."""
        start = time.perf_counter()
        self.trained.train()
        parts = [self.streams[name].contribute(step, rows) for name, rows in batches.items()]
        norm = self._update(step, batches)
        tokens = self.processes.summed(torch.tensor([float(sum(part.tokens for part in parts))]))[0]
        return self._record(step, parts, norm, int(tokens), time.perf_counter() - start)

    def _record(self, step: int, parts: list[Contribution], norm: float, tokens: int, seconds: float) -> StepRecord:
        per_dim = {name: row for part in parts for name, row in part.per_dim.items()}
        loss, rows = sum(part.loss for part in parts), sum(part.rows for part in parts)
        weights: PerDim = {}
        if self.trained.learned is not None:
            factors = self.trained.learned.factors()
            weights = {name: dict(zip(self.recipe.lengths, row, strict=True)) for name, row in factors.items()}
        return StepRecord(step + 1, loss, per_dim, self.rate(step), norm, tokens, rows, seconds, weights)

    def _update(self, step: int, batches: Mapping[str, list[int]]) -> float:
        self.processes.add_up_gradients(self.trainable)
        norm = float(torch.nn.utils.clip_grad_norm_(self.trainable, self.recipe.optimizer.max_grad_norm))
        if not math.isfinite(norm):
            places = [self.streams[name].places(rows) for name, rows in batches.items()]
            raise TrainingError(stopped(f"the gradient's norm is {norm}", step, [p for part in places for p in part]))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step) * group["factor"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm
