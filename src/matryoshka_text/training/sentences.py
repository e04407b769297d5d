"""Streams of sentences: embed, gather, losses on the vectors, gradient back through the encoder."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.data import Examples
from matryoshka_text.data.passes import Chunk, Tokenizer
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.compat import longest_text, prompt_tokens_left_out, tells_roles, unpadded
from matryoshka_text.encoder.layers import vectors_by_layer
from matryoshka_text.gradcache import EmbeddedTexts
from matryoshka_text.objectives import Stream, VectorObjective
from matryoshka_text.objectives.batch import GlobalBatch, Nesting
from matryoshka_text.objectives.distill import distilled
from matryoshka_text.prompts import ModelPrompts
from matryoshka_text.recipe import Batch
from matryoshka_text.training.inputs import Inputs
from matryoshka_text.training.nesting import LayerPlan, Nestings
from matryoshka_text.training.processes import Processes, seed_of
from matryoshka_text.training.prompts import training_length
from matryoshka_text.training.streams import Contribution, Prepared, Rows

__all__ = ["SentenceStream"]


class SentenceStream:
    """Pairs, labelled texts or scored pairs, with the objectives that compare or classify their vectors."""

    def __init__(
        self, name: Stream, *, inputs: Inputs, nestings: Nestings, layers: LayerPlan, processes: Processes
    ) -> None:
        """The stream `name` of the inputs, after the layers of the plan."""
        recipe, encoder = inputs.recipe, inputs.encoder
        # Keeps this stream's dropout apart from other streams'.
        self.place = list(inputs.streams).index(name)
        self.name: str = name
        self.recipe, self.examples, self.encoder = recipe, inputs.streams[name], encoder
        self.objectives = [one for one in recipe.objectives if isinstance(one, VectorObjective) and one.reads == name]
        self.head = inputs.trained.classes
        self.teacher = teacher = inputs.teacher if name == "pairs" else None
        self.nestings, self.layers, self.processes = nestings, layers, processes
        distill = recipe.objective("distill")
        self.from_file = distill is not None and distill.vectors
        self._reads = _Reader(encoder, self.examples, recipe.batch, name)
        # A teacher that is a copy of the base reads the very tokens of the student.
        self._one_reader = distill is not None and distill.teacher is None
        other = teacher is not None and not self._one_reader
        self._teacher_reads = _Reader(teacher, self.examples, recipe.batch, name) if teacher and other else None

    def prepare(self, step: int, batches: list[Rows]) -> Prepared:
        """The texts of this process's share of each batch, as the chunks of student and teacher."""
        return Prepared(batches, [self._tokenized(rows) for rows in batches])

    def contribute(self, step: int, prepared: Prepared) -> Contribution:
        """The batches' losses; their gradient is added to the parameters' own."""
        parts = [
            self._contribute(step, place, rows, inputs, share=1 / len(prepared.rows))
            for place, (rows, inputs) in enumerate(zip(prepared.rows, prepared.inputs, strict=True))
        ]
        return parts[0] if len(parts) == 1 else _together(parts)

    def places(self, rows: Rows) -> list[str]:
        """Where the rows came from."""
        return [self.examples.place(row) for row in rows]

    def _tokenized(self, rows: Rows) -> "_Inputs":
        mine = rows[self.processes.share(len(rows))]
        student, teacher = (
            [] if one is None else self.processes.ready(one.chunks(mine)) for one in (self._reads, self._teacher_reads)
        )
        shared = self.teacher is not None and self._one_reader
        return _Inputs(len(mine) * len(self.examples.columns), student, student if shared else teacher)

    def _contribute(self, step: int, place: int, rows: Rows, inputs: "_Inputs", *, share: float) -> Contribution:
        """One batch's, `place` among those of the step, its losses and gradients times `share`."""
        mine = self.processes.share(len(rows))
        layers = self.layers.at(step)
        seed = self._seed(step, place)
        embedded = self._embed(self.encoder, inputs.student, seed, layers, cached=self.recipe.batch.gradient_caching)
        student = self._whole(embedded.vectors).requires_grad_()
        batch = self._batch(student, inputs.teacher, rows, seed)
        total, per_dim, dims = self._losses(batch, student, layers, step)
        torch.autograd.backward(total * share)
        assert student.grad is not None
        gradient = self.processes.summed(student.grad)[:, :, mine]
        embedded.backward(gradient.permute(1, 2, 0, 3).reshape(inputs.texts, *embedded.vectors.shape[1:]))
        # Read only where a loss is no number.
        finite = student.detach().isfinite().all(-1).all(0).all(0)
        return Contribution(
            loss=total.detach() * share,
            per_dim={name: values * share for name, values in per_dim.items()},
            dims=dims,
            tokens=embedded.tokens,
            rows=len(rows),
            bad=lambda: self.places([rows[i] for i in (~finite).nonzero().flatten().tolist()]),
        )

    def _seed(self, step: int, place: int) -> int:
        passes = step * self.recipe.batch.accumulate + place
        return seed_of(self.recipe.seed, passes, self.processes.index, self.place)

    def _embed(
        self, encoder: MatryoshkaEncoder, chunks: list[Chunk], seed: int, layers: tuple[int, ...], *, cached: bool
    ) -> EmbeddedTexts:
        """The texts' vectors after each layer, [texts, layers, width]."""
        return EmbeddedTexts(
            lambda chunk: _vectors(encoder, chunk, layers),
            [chunk.to(self.processes.device) for chunk in chunks],
            seed=seed,
            cached=cached,
            autocast=self.processes.autocast,
        )

    def _whole(self, vectors: Float[Tensor, "texts l w"]) -> Float[Tensor, "l columns rows w"]:
        """Every process's vectors in the order of the global batch."""
        count, columns = self.processes.count, len(self.examples.columns)
        parts = self.processes.gathered(vectors).view(count, columns, -1, *vectors.shape[1:])
        # [processes, columns, rows, layers, width]
        return parts.permute(3, 1, 0, 2, 4).reshape(vectors.shape[1], columns, -1, vectors.shape[2])

    def _batch(self, student: Tensor, teacher: list[Chunk], rows: Rows, seed: int) -> GlobalBatch:
        """The batch as the last layer gives it."""
        mine, values = self.processes.share(len(rows)), None
        if self.examples.values is not None:
            values = torch.from_numpy(self.examples.values[list(rows)]).to(student.device, non_blocking=True)
        return GlobalBatch(
            student[-1],
            self._taught(teacher, rows, seed),
            mine.start,
            mine.stop,
            values=values,
            processes=self.processes.count,
            products=self.processes.products,
            head=self.head,
        )

    def _taught(self, chunks: list[Chunk], rows: Rows, seed: int) -> Tensor | None:
        """The teacher's vectors: stored ones, or those of the teacher model; None without a teacher."""
        if self.from_file and self.examples.vectors is not None:
            stored = np.stack([column[list(rows)] for column in self.examples.vectors])
            return torch.from_numpy(stored).to(self.processes.device, non_blocking=True)
        if self.teacher is None:
            return None
        # No graph either way: the teacher's vectors are only looked at.
        with torch.no_grad():
            embedded = self._embed(self.teacher, chunks, seed, (), cached=True)
        return self._whole(embedded.vectors)[0]

    def _losses(
        self, batch: GlobalBatch, student: Tensor, layers: tuple[int, ...], step: int
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, tuple[int, ...]]]:
        """This process's share of the weighted sum, and of each objective's loss at each of its dims."""
        total = torch.zeros((), device=student.device)
        found: dict[str, tuple[Nesting, Tensor]] = {}
        for place, layer in enumerate(layers):
            last = place == len(layers) - 1
            at_layer = replace(batch, student=student[place])
            factor = self.layers.factor(layer, len(layers))
            for objective in self.objectives:
                # Below the last layer the KL term teaches, and a layer's own full width would be no teacher.
                if not last and not objective.layers:
                    continue
                nesting, added = self.nestings.at(step, objective.kind, student.device, self.layers.lengths(layer))
                loss = objective.loss(at_layer, nesting)
                total = total + factor * objective.weight * (loss.total + added / self.processes.count)
                found[objective.kind if last else f"{objective.kind}@{layer}"] = (nesting, loss.per_dim)
            if not last and self.layers.kl_weight:
                # The last layer at full width is what the others are drawn to; it is not moved by it.
                nesting = self.nestings.unweighted(step, student.device, self.layers.lengths(layer))
                loss = distilled(
                    at_layer, student[-1].detach(), nesting, temperature=self.layers.kl_temperature, pair_weight=0.0
                )
                total = total + self.layers.kl_weight / (len(layers) - 1) * loss.total
                found[f"layers_{self.name}@{layer}"] = (nesting, loss.per_dim)
        values = {name: row for name, (_, row) in found.items()}
        return total, values, {name: nesting.dims for name, (nesting, _) in found.items()}


@dataclass(frozen=True)
class _Inputs:
    """One batch's texts on this process, as the chunks of student and teacher (none without a teacher model)."""

    texts: int
    student: list[Chunk]
    teacher: list[Chunk]


def _together(parts: list[Contribution]) -> Contribution:
    """The contributions of the batches of one step, which read the same dims."""
    return replace(
        parts[0],
        loss=torch.stack([part.loss for part in parts]).sum(),
        per_dim={name: torch.stack([part.per_dim[name] for part in parts]).sum(0) for name in parts[0].per_dim},
        tokens=sum(part.tokens for part in parts),
        rows=sum(part.rows for part in parts),
        bad=lambda: [place for part in parts if part.bad is not None for place in part.bad()],
    )


class _Reader:
    """One model's way of reading a stream's texts: its tokenizer, its prompts, and what its pooling leaves out.

    The first column holds the queries of pairs, the others their documents. If the model cuts these to other lengths or
    has other modules for them, each role has a tokenizer of its own; else one reads all texts.
    """

    def __init__(self, encoder: MatryoshkaEncoder, examples: Examples, batch: Batch, stream: Stream) -> None:
        """`batch` is the recipe's, whose length is cut to what the model reads."""
        self._examples, self._batch = examples, batch
        known = ModelPrompts.of(encoder)
        # By source, one for each column.
        self._prompts = [[known.text(name) for name in names] for names in examples.prompts]
        left_out = prompt_tokens_left_out(encoder, {prompt for row in self._prompts for prompt in row})
        roles = ("query", "document") if stream == "pairs" and tells_roles(encoder) else (None,)
        most = training_length(encoder, batch.max_length)
        self._tokenizers = {
            role: Tokenizer(
                encoder.tokenizer,
                min(most, longest_text(encoder, role) or most),
                unpadded(encoder),
                left_out.__getitem__,
            )
            for role in roles
        }

    def chunks(self, rows: Rows) -> list[Chunk]:
        """The texts of these rows, column after column."""
        found, batch = self._examples, self._batch
        texts = [column[row] for column in found.columns for row in rows]
        prompts = [self._prompts[found.source[row]][place] for place in range(len(found.columns)) for row in rows]
        spans = {None: slice(None), "query": slice(len(rows)), "document": slice(len(rows), None)}
        return [
            chunk.of_role(role, spans[role].start or 0)
            for role, one in self._tokenizers.items()
            for chunk in one.chunks(texts[spans[role]], batch.chunk, batch.tokens, prompts=prompts[spans[role]])
        ]


def _vectors(encoder: MatryoshkaEncoder, chunk: Chunk, layers: tuple[int, ...]) -> Tensor:
    if len(layers) < 2:
        vectors: Tensor = encoder(dict(chunk.features))["sentence_embedding"]
        return vectors[:, None]
    return vectors_by_layer(encoder, dict(chunk.features), layers).transpose(0, 1)
