"""Streams of sentences: embed, gather, losses on the vectors, gradient back through the encoder."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.data import Examples
from matryoshka_text.data.batches import Chunk, Tokenizer
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.layers import vectors_by_layer
from matryoshka_text.gradcache import EmbeddedTexts
from matryoshka_text.objectives import GlobalBatch, Nesting, Objective
from matryoshka_text.objectives.distill import distilled
from matryoshka_text.recipe import Recipe
from matryoshka_text.training.nesting import LayerPlan, Nestings
from matryoshka_text.training.processes import Processes, seed_of
from matryoshka_text.training.streams import Contribution, PerDim, require_finite

__all__ = ["SentenceStream"]

# Divides the cosines where a layer learns the in-batch similarities of the last, as in distillation.
_LAYER_TEMPERATURE = 0.05


class SentenceStream:
    """Pairs, labelled texts or scored pairs, with the objectives that compare or classify their vectors."""

    def __init__(
        self,
        name: str,
        place: int,
        recipe: Recipe,
        examples: Examples,
        encoder: MatryoshkaEncoder,
        teacher: MatryoshkaEncoder | None,
        objectives: Sequence[Objective],
        nestings: Nestings,
        layers: LayerPlan,
        processes: Processes,
    ) -> None:
        """`place` is the stream's number, which keeps its dropout apart from other streams'."""
        self.name, self.place, self.recipe, self.examples = name, place, recipe, examples
        self.encoder, self.teacher, self.objectives = encoder, teacher, list(objectives)
        self.nestings, self.layers, self.processes = nestings, layers, processes
        distill = recipe.objective("distill")
        self.from_file = distill is not None and distill.vectors
        self._tokenizer = _tokenizer(encoder, recipe.batch.max_length)
        self._teacher_tokenizer = _tokenizer(teacher, recipe.batch.max_length) if teacher is not None else None

    def contribute(self, step: int, rows: Sequence[int]) -> Contribution:
        """One batch's losses; their gradient is added to the parameters' own."""
        mine = self.processes.share(len(rows))
        texts = [column[row] for column in self.examples.columns for row in rows[mine]]
        layers = self.layers.at(step)
        cached = self.recipe.batch.gradient_caching
        embedded = self._embed(self.encoder, self._tokenizer, texts, step, layers, cached=cached)
        student = self._whole(embedded.vectors).requires_grad_()
        batch = self._batch(student, texts, rows, step)
        total, per_dim = self._losses(batch, student, layers, step)
        bad = (~student.detach().isfinite().all(-1).all(0).all(0)).nonzero().flatten().tolist()
        loss = require_finite(total, self.processes, step, self.places(rows), self.places([rows[i] for i in bad]))
        torch.autograd.backward(total)
        assert student.grad is not None
        gradient = self.processes.summed(student.grad)[:, :, mine]
        embedded.backward(gradient.permute(1, 2, 0, 3).reshape(len(texts), *embedded.vectors.shape[1:]))
        return Contribution(loss, per_dim, embedded.tokens, len(rows))

    def places(self, rows: Sequence[int]) -> list[str]:
        """Where the rows came from."""
        return [self.examples.place(row) for row in rows]

    def _embed(
        self,
        encoder: MatryoshkaEncoder,
        tokenizer: Tokenizer,
        texts: list[str],
        step: int,
        layers: tuple[int, ...],
        *,
        cached: bool,
    ) -> EmbeddedTexts:
        """The texts' vectors after each layer, [texts, layers, width]."""
        device = self.processes.device
        chunks = [chunk.to(device) for chunk in tokenizer.chunks(texts, self.recipe.batch.chunk)]
        return EmbeddedTexts(
            lambda chunk: _vectors(encoder, chunk, layers),
            chunks,
            seed=seed_of(self.recipe.seed, step, self.processes.index, self.place),
            cached=cached,
            autocast=self.processes.autocast,
        )

    def _whole(self, vectors: Float[Tensor, "texts l w"]) -> Float[Tensor, "l columns rows w"]:
        """Every process's vectors in the order of the global batch."""
        count, columns = self.processes.count, len(self.examples.columns)
        parts = self.processes.gathered(vectors).view(count, columns, -1, *vectors.shape[1:])
        # [processes, columns, rows, layers, width]
        return parts.permute(3, 1, 0, 2, 4).reshape(vectors.shape[1], columns, -1, vectors.shape[2])

    def _batch(self, student: Tensor, texts: list[str], rows: Sequence[int], step: int) -> GlobalBatch:
        """The batch as the last layer gives it."""
        mine, values = self.processes.share(len(rows)), self.examples.values
        return GlobalBatch(
            student[-1],
            self._taught(texts, rows, step),
            mine.start,
            mine.stop,
            values=None if values is None else torch.from_numpy(values[list(rows)]).to(student.device),
            processes=self.processes.count,
        )

    def _taught(self, texts: list[str], rows: Sequence[int], step: int) -> Tensor | None:
        """The teacher's vectors: stored ones, or those of the teacher model; None without a teacher."""
        if self.from_file and self.examples.vectors is not None:
            stored = np.stack([column[list(rows)] for column in self.examples.vectors])
            return torch.from_numpy(stored).to(self.processes.device)
        if self.teacher is None or self._teacher_tokenizer is None:
            return None
        # No graph either way: the teacher's vectors are only looked at.
        with torch.no_grad():
            embedded = self._embed(self.teacher, self._teacher_tokenizer, texts, step, (), cached=True)
        return self._whole(embedded.vectors)[0]

    def _losses(self, batch: GlobalBatch, student: Tensor, layers: tuple[int, ...], step: int) -> tuple[Tensor, PerDim]:
        """This process's share of the weighted sum, and each objective's global loss at each dim."""
        total = torch.zeros((), device=student.device)
        found: dict[str, tuple[Nesting, Tensor]] = {}
        for place, layer in enumerate(layers):
            last = place == len(layers) - 1
            at_layer = replace(batch, student=student[place])
            factor = self.layers.factor(layer, len(layers))
            for objective in self.objectives:
                # Below the last layer the KL term teaches, and a layer's own full width would be no teacher.
                if not last and objective.name == "self_distill":
                    continue
                nesting, added = self.nestings.at(step, objective.name, student.device, self.layers.lengths(layer))
                loss = objective(at_layer, nesting)
                total = total + factor * objective.weight * (loss.total + added / self.processes.count)
                found[objective.name if last else f"{objective.name}@{layer}"] = (nesting, loss.per_dim)
            if not last and self.layers.kl_weight:
                # The last layer at full width is what the others are drawn to; it is not moved by it.
                nesting = self.nestings.unweighted(step, student.device, self.layers.lengths(layer))
                loss = distilled(at_layer, student[-1].detach(), nesting, _LAYER_TEMPERATURE, pair_weight=0.0)
                total = total + self.layers.kl_weight / (len(layers) - 1) * loss.total
                found[f"layers_{self.name}@{layer}"] = (nesting, loss.per_dim)
        summed = iter(self.processes.summed(torch.cat([values for _, values in found.values()]).float()).tolist())
        return total, {name: {dim: next(summed) for dim in nesting.dims} for name, (nesting, _) in found.items()}


def _tokenizer(encoder: MatryoshkaEncoder, max_length: int) -> Tokenizer:
    return Tokenizer(encoder.tokenizer, min(max_length, encoder.max_seq_length or max_length))


def _vectors(encoder: MatryoshkaEncoder, chunk: Chunk, layers: tuple[int, ...]) -> Tensor:
    if len(layers) < 2:
        vectors: Tensor = encoder(dict(chunk.features))["sentence_embedding"]
        return vectors[:, None]
    return vectors_by_layer(encoder, dict(chunk.features), layers).transpose(0, 1)
