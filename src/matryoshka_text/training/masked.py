"""The stream of plain text: mask, guess at every prefix with the vocabulary matrix, gradient back chunk by chunk."""

import torch
from torch import Tensor

from matryoshka_text.data.masking import MaskedChunk
from matryoshka_text.gradcache import chunk_seed
from matryoshka_text.heads.vocabulary import backbone_of, masked_hidden, vocabulary_matrix
from matryoshka_text.nested import NestedLoss
from matryoshka_text.objectives.batch import MaskedBatch, Nesting
from matryoshka_text.objectives.mlm import Mlm
from matryoshka_text.training.inputs import Inputs
from matryoshka_text.training.nesting import Nestings
from matryoshka_text.training.processes import Processes, seed_of
from matryoshka_text.training.streams import Contribution, Prepared, Rows

__all__ = ["MaskedStream"]


class MaskedStream:
    """Masked-language modelling tied to the vocabulary matrix, nested over the dims (arXiv:2205.13147, section 3).

    The loss is a mean over the masked tokens of the GLOBAL batch, so it is the same for every number of processes and
    chunks. A chunk's gradient is formed before the next one is read: memory is one chunk's.
    """

    name = "text"

    def __init__(self, *, inputs: Inputs, nestings: Nestings, processes: Processes) -> None:
        """The plain text of the inputs."""
        head, masking, section = inputs.trained.vocabulary, inputs.masking, inputs.recipe.objective("mlm")
        assert head is not None and masking is not None and isinstance(section, Mlm)
        # Keeps this stream's dropout apart from other streams'.
        self.place = list(inputs.streams).index("text")
        self.recipe, self.section, self.examples = inputs.recipe, section, inputs.streams["text"]
        self.packed, self._masker = masking
        self.encoder, self.head = inputs.encoder, head
        self.nestings, self.processes = nestings, processes

    def prepare(self, step: int, batches: list[Rows]) -> Prepared:
        """This process's share of the sequences, masked; accumulated batches are one with as many sequences.

        What is masked depends on the seed, the step and the sequence only.
        """
        found = [(row, i) for i, batch in enumerate(batches) for row in batch[self.processes.share(len(batch))]]
        rows = [row for row, _ in found]
        # Accumulated batches may meet at the end of an epoch and hold a sequence twice: it is masked in two ways.
        keys = [(self.recipe.seed, step, row, *([i] if i else [])) for row, i in found]
        words = [self.packed.words_of(row) for row in rows]
        masked = self._masker.mask([self.packed.ids(row) for row in rows], keys=keys, words=words)
        size = self.recipe.batch
        most, tokens = (None, None) if size.text_in_one_pass else (size.chunk, size.tokens)
        if len(batches) > 1 and size.text_in_one_pass:
            most = len(batches[0]) // self.processes.count  # a batch at a time is what accumulation is for
        return Prepared(batches, self.processes.ready(self._masker.chunks(masked, most, tokens)))

    def contribute(self, step: int, prepared: Prepared) -> Contribution:
        """The step's sequences; the gradient of their masked tokens is added to the parameters' own."""
        chunks: list[MaskedChunk] = prepared.inputs
        guessed = self._guessed(chunks)
        nesting, added = self._nesting(step)
        total = self.section.weight * added / self.processes.count
        if total.requires_grad:
            torch.autograd.backward(total)
        total = total.detach()
        per_dim = torch.zeros(len(nesting.dims), device=self.processes.device)
        for index, chunk in enumerate(chunks):
            # Learned factors make a graph of their own for each chunk.
            loss = self._loss(
                chunk.to(self.processes.device), self._nesting(step)[0], step, index=index, guessed=guessed
            )
            torch.autograd.backward(self.section.weight * loss.total)
            total = total + self.section.weight * loss.total.detach()
            per_dim += loss.per_dim.float()
        tokens = sum(chunk.tokens for chunk in chunks)
        return Contribution(
            loss=total, per_dim={"mlm": per_dim}, dims={"mlm": nesting.dims}, tokens=tokens, rows=prepared.count
        )

    def _guessed(self, chunks: list[MaskedChunk]) -> float:
        """The masked tokens of all chunks and processes: a mean of the chunks' means would be another loss."""
        own = float(sum(len(chunk.target) for chunk in chunks))
        # One process knows the number without asking a device.
        return own if self.processes.count == 1 else float(self.processes.summed(torch.tensor([own]))[0])

    def places(self, rows: Rows) -> list[str]:
        """Where the first text of each sequence came from."""
        return [self.examples.place(int(self.packed.first_text[row])) for row in rows]

    def _nesting(self, step: int) -> tuple[Nesting, Tensor]:
        return self.nestings.at(step, "mlm", self.processes.device)

    def _loss(self, chunk: MaskedChunk, nesting: Nesting, step: int, *, index: int, guessed: float) -> NestedLoss:
        """The share of a chunk's tokens in the mean over all `guessed` ones."""
        seed = seed_of(self.recipe.seed, step, self.processes.index, self.place)
        torch.manual_seed(chunk_seed(seed, index))
        backbone = backbone_of(self.encoder)
        matrix = vocabulary_matrix(backbone)
        if self.head.width < matrix.shape[1]:
            matrix = matrix[:, : self.head.width]
        with self.processes.autocast():
            rows = self.head.rows(masked_hidden(backbone, chunk.features, chunk.rows))
        products = self.processes.products
        batch = MaskedBatch(
            rows=rows.to(products),
            matrix=matrix.to(products),
            bias=self.head.bias,
            target=chunk.target,
            denominator=guessed,
        )
        return self.section.loss(batch, nesting)
