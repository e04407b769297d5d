"""The training loop: one step is a batch of each stream, gradients added up, one update."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.build.optimizer import build_optimizer, learning_rates
from matryoshka_text.errors import TrainingError
from matryoshka_text.training.inputs import Inputs
from matryoshka_text.training.processes import Processes
from matryoshka_text.training.setup import build_streams
from matryoshka_text.training.streams import Contribution, PerDim, Prepared, advice, stopped

__all__ = ["LaunchedStep", "Loop", "StepRecord"]


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


@dataclass(frozen=True)
class LaunchedStep:
    """A step that a GPU may still be computing; `values` is on its way to the host.

    `values` holds the gradient's norm, the tokens, each contribution's `flat`, then the learned factors by objective.
    """

    step: int
    values: Float[Tensor, " values"]
    arrived: torch.cuda.Event | None
    parts: list[Contribution]
    places: Callable[[], list[str]]
    learning_rate: float
    learned: tuple[str, ...]
    lengths: tuple[int, ...]
    advice: str

    def record(self, seconds: Callable[[], float]) -> StepRecord:
        """What the step did, once it is done; `TrainingError` if a number of it is none.

        `seconds` is asked, when the values are there, how long the step took.
        """
        if self.arrived is not None:
            self.arrived.synchronize()
        norm, tokens, *rest = self.values.tolist()
        loss, per_dim, at = 0.0, PerDim(), 0
        for part in self.parts:
            size = 1 + sum(map(len, part.dims.values()))
            loss += rest[at]
            per_dim |= part.table(rest[at + 1 : at + size])
            at += size
        self._require_finite(loss, norm, per_dim)
        rows = sum(part.rows for part in self.parts)
        weights = self._weights(rest[at:])
        return StepRecord(
            step=self.step + 1,
            loss=loss,
            per_dim=per_dim,
            learning_rate=self.learning_rate,
            gradient_norm=norm,
            tokens=int(tokens),
            pairs=rows,
            seconds=seconds(),
            weights=weights,
        )

    def _weights(self, values: list[float]) -> PerDim:
        found, rest = PerDim(), iter(values)
        for name in self.learned:
            found[name] = {dim: next(rest) for dim in self.lengths}
        return found

    def _require_finite(self, loss: float, norm: float, per_dim: PerDim) -> None:
        looked_at = [(loss, "the loss"), (norm, "the gradient's norm")]
        looked_at += [(v, f"{name} at {dim} dims") for name, row in per_dim.items() for dim, v in row.items()]
        for value, name in looked_at:
            if abs(value) < float("inf"):
                continue
            what = f"{name} is {value}"
            bad = [place for part in self.parts if part.bad is not None for place in part.bad()]
            raise TrainingError(stopped(what, self.step, bad or self.places(), self.advice))


class Loop:
    """Everything a step needs. Processes share the plan of global batches, and each embeds its own slice of one."""

    def __init__(self, inputs: Inputs, processes: Processes) -> None:
        """The streams, the optimizer and the course of its learning rate are made of the inputs."""
        self.recipe, self.trained, self.processes = inputs.recipe, inputs.trained, processes
        settings = inputs.recipe.optimizer
        self.optimizer = build_optimizer(settings, inputs.trained, inputs.trained.from_scratch())
        self.rate = learning_rates(settings, inputs.steps)
        self.streams = build_streams(inputs, processes)
        self.trainable = [p for p in inputs.trained.parameters() if p.requires_grad]
        self._broken = torch.zeros((), device=processes.device)
        self._clock = time.perf_counter()

    def start_clock(self) -> None:
        """Start the clock of the next record."""
        self._clock = time.perf_counter()

    def seconds(self) -> float:
        """Seconds since the record before, or since `start_clock`; the next count begins here."""
        before, self._clock = self._clock, time.perf_counter()
        return self._clock - before

    def step(self, step: int, prepared: Mapping[str, Prepared]) -> LaunchedStep:
        """One update from the global batches of each stream; `step` counts from 0.

        The host does not wait for a GPU. Where a loss or the gradient is no finite number, nothing is updated, in this
        step and after it, and `record` raises.
        """
        self.trained.train()
        parts = [self.streams[name].contribute(step, inputs) for name, inputs in prepared.items()]
        tokens = torch.tensor([float(sum(part.tokens for part in parts))])
        summed = self.processes.summed(
            torch.cat([tokens.to(parts[0].loss.device, non_blocking=True), *(part.flat for part in parts)])
        )
        self.processes.add_up_gradients(self.trainable)
        norm = torch.nn.utils.clip_grad_norm_(self.trainable, self.recipe.optimizer.max_grad_norm)
        values = torch.cat([norm.detach().reshape(1).to(summed), summed])
        self._update(step, values)
        factors = self._factors()
        values, arrived = self._to_host(torch.cat([values, *(row.to(values) for row in factors.values())]))

        def places() -> list[str]:
            return [
                p for name, inputs in prepared.items() for rows in inputs.rows for p in self.streams[name].places(rows)
            ]

        return LaunchedStep(
            step=step,
            values=values,
            arrived=arrived,
            parts=parts,
            places=places,
            learning_rate=self.rate(step),
            learned=tuple(factors),
            lengths=self.recipe.lengths,
            advice=advice(self.recipe),
        )

    def _update(self, step: int, values: Float[Tensor, " values"]) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step) * group["factor"]
        # The optimizer's own guard, decided on the device: once a number is none, this and every later step is skipped.
        self._broken = torch.maximum(self._broken, (~values.isfinite().all()).to(self._broken))
        self.optimizer.found_inf = self._broken  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _to_host(self, values: Float[Tensor, " values"]) -> tuple[Tensor, torch.cuda.Event | None]:
        if values.device.type != "cuda":
            return values.cpu(), None
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        return host, arrived

    def _factors(self) -> dict[str, Float[Tensor, " k"]]:
        """The learned factors of all dims after the update, by objective; none where they are not learned."""
        return {} if self.trained.learned is None else self.trained.learned.factors()
