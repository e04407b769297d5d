"""The training loop: one step is embed, gather, loss, gradient back, update."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.data import Examples
from matryoshka_text.data.batches import Chunk, Tokenizer
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import TrainingError
from matryoshka_text.gradcache import EmbeddedTexts
from matryoshka_text.objectives import GlobalBatch, Objective
from matryoshka_text.recipe import Recipe

__all__ = ["Loop", "StepRecord"]


@dataclass
class StepRecord:
    """What one step did: losses are means over the global batch, in nats for the softmax objectives."""

    step: int
    loss: float
    per_dim: dict[str, list[float]]
    learning_rate: float
    gradient_norm: float
    tokens: int
    pairs: int
    seconds: float
    extra: dict[str, Any] = field(default_factory=dict)

    def line(self, dims: Sequence[int]) -> dict[str, Any]:
        """The record as a line of metrics.jsonl."""
        return {
            "step": self.step,
            "loss": self.loss,
            "per_dim": {name: dict(zip(map(str, dims), row, strict=True)) for name, row in self.per_dim.items()},
            "learning_rate": self.learning_rate,
            "gradient_norm": self.gradient_norm,
            "tokens_per_second": round(self.tokens / self.seconds, 1),
            "pairs_per_second": round(self.pairs / self.seconds, 2),
        }


class Loop:
    """Everything a step needs. Processes share the plan of global batches, and each embeds its own slice of one.

    Gradients are summed over processes by hand: each process's loss is its own rows' share of the global loss, so no
    mean has to be undone, and the first pass of gradient caching leaves no graph for a wrapper to watch.
    """

    def __init__(
        self,
        recipe: Recipe,
        examples: Examples,
        encoder: MatryoshkaEncoder,
        teacher: MatryoshkaEncoder | None,
        objectives: Sequence[Objective],
        optimizer: torch.optim.Optimizer,
        rate: Callable[[int], float],
        accelerator: Accelerator,
        precision: Literal["float32", "bf16"],
    ) -> None:
        """All parts are built already; the loop owns none of them."""
        self.recipe, self.examples, self.encoder, self.teacher = recipe, examples, encoder, teacher
        self.objectives, self.optimizer, self.rate, self.accelerator = objectives, optimizer, rate, accelerator
        self._bf16 = precision == "bf16"
        self.trainable = [p for p in encoder.parameters() if p.requires_grad]
        self._tokenizer = _tokenizer(encoder, recipe.batch.max_length)
        self._teacher_tokenizer = _tokenizer(teacher, recipe.batch.max_length) if teacher is not None else None
        share = recipe.batch.size // accelerator.num_processes
        self._mine = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)

    def step(self, step: int, rows: Sequence[int]) -> StepRecord:
        """One update from the global batch `rows`; `step` counts from 0. `TrainingError` before a NaN does harm."""
        start = time.perf_counter()
        texts = self._texts(rows)
        self.encoder.train()
        embedded = self._embed(self.encoder, self._tokenizer, texts, step, cached=self.recipe.batch.gradient_caching)
        batch = self._gathered(embedded.vectors, texts, step)
        total, per_dim = self._losses(batch)
        self._require_finite(total, batch, rows, step)
        embedded.backward(self._gradient_of_mine(total, batch))
        norm = self._update(step, rows)
        pairs, tokens = len(rows), self._summed(torch.tensor([float(embedded.tokens)]))[0]
        loss = float(self._summed(total.detach().reshape(1))[0])
        seconds = time.perf_counter() - start
        return StepRecord(step + 1, loss, per_dim, self.rate(step), norm, int(tokens), pairs, seconds)

    def _texts(self, rows: Sequence[int]) -> list[str]:
        """This process's texts, column by column."""
        return [column[row] for column in self.examples.columns for row in rows[self._mine]]

    def _embed(
        self, encoder: MatryoshkaEncoder, tokenizer: Tokenizer, texts: list[str], step: int, *, cached: bool
    ) -> EmbeddedTexts:
        chunks = [chunk.to(self.accelerator.device) for chunk in tokenizer.chunks(texts, self.recipe.batch.chunk)]
        return EmbeddedTexts(
            lambda chunk: _vectors(encoder, chunk),
            chunks,
            seed=_seed(self.recipe.seed, step, self.accelerator.process_index),
            cached=cached,
            autocast=self._autocast,
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16, enabled=self._bf16)

    def _gathered(self, vectors: Tensor, texts: list[str], step: int) -> GlobalBatch:
        teacher = None
        if self.teacher is not None and self._teacher_tokenizer is not None:
            # No graph either way: the teacher's vectors are only looked at.
            with torch.no_grad():
                embedded = self._embed(self.teacher, self._teacher_tokenizer, texts, step, cached=True)
            teacher = self._whole(embedded.vectors)
        student = self._whole(vectors).requires_grad_()
        return GlobalBatch(student, teacher, self._mine.start, self._mine.stop)

    def _whole(self, vectors: Float[Tensor, "texts width"]) -> Float[Tensor, "columns rows width"]:
        """Every process's vectors in the order of the global batch."""
        columns, width = len(self.examples.columns), vectors.shape[-1]
        parts = self.accelerator.gather(vectors.contiguous()).view(self.accelerator.num_processes, columns, -1, width)
        return parts.transpose(0, 1).reshape(columns, -1, width).detach()

    def _losses(self, batch: GlobalBatch) -> tuple[Tensor, dict[str, list[float]]]:
        losses = {objective: objective(batch) for objective in self.objectives}
        per_dim = torch.stack([loss.per_dim for loss in losses.values()])
        rows = self._summed(per_dim.detach()).tolist()
        total = torch.stack([objective.weight * loss.total for objective, loss in losses.items()]).sum()
        return total, {objective.name: row for objective, row in zip(losses, rows, strict=True)}

    def _gradient_of_mine(self, total: Tensor, batch: GlobalBatch) -> Tensor:
        (gradient,) = torch.autograd.grad(total, batch.student)
        return self._summed(gradient)[:, self._mine].reshape(-1, gradient.shape[-1])

    def _update(self, step: int, rows: Sequence[int]) -> float:
        with_gradient = [p.grad for p in self.trainable if p.grad is not None]
        if self.accelerator.num_processes > 1:
            flat = self._summed(torch.cat([gradient.flatten() for gradient in with_gradient]))
            parts = torch.split(flat, [gradient.numel() for gradient in with_gradient])
            for gradient, part in zip(with_gradient, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        norm = float(torch.nn.utils.clip_grad_norm_(self.trainable, self.recipe.optimizer.max_grad_norm))
        if not math.isfinite(norm):
            raise TrainingError(self._stopped(f"the gradient's norm is {norm}", step, list(rows)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _summed(self, tensor: Tensor) -> Tensor:
        summed: Tensor = self.accelerator.reduce(tensor.to(self.accelerator.device), reduction="sum")
        return summed

    def _require_finite(self, total: Tensor, batch: GlobalBatch, rows: Sequence[int], step: int) -> None:
        loss = float(self._summed(total.detach().reshape(1))[0])
        if math.isfinite(loss):
            return
        bad = (~batch.student.detach().isfinite().all(-1).all(0)).nonzero().flatten().tolist()
        raise TrainingError(self._stopped(f"the loss is {loss}", step, [rows[i] for i in bad] or list(rows)))

    def _stopped(self, what: str, step: int, rows: list[int]) -> str:
        places = ", ".join(self.examples.place(row) for row in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        return (
            f"step {step + 1}: {what}; rows of this batch to look at: {places}{more}. Nothing was updated, and "
            "checkpoints written before are kept; lower optimizer.learning_rate, or raise the temperature"
        )


def _tokenizer(encoder: MatryoshkaEncoder, max_length: int) -> Tokenizer:
    return Tokenizer(encoder.tokenizer, min(max_length, encoder.max_seq_length or max_length))


def _vectors(encoder: MatryoshkaEncoder, chunk: Chunk) -> Tensor:
    vectors: Tensor = encoder(dict(chunk.features))["sentence_embedding"]
    return vectors


def _seed(seed: int, step: int, rank: int) -> int:
    return (seed * 1_000_003 + step) * 4099 + rank
