"""Vectors of a batch larger than memory, with the exact gradient (GradCache, arXiv:2101.06983).

First every chunk is embedded without a graph; the loss gives its gradient on the vectors; then every chunk is embedded
again, with a graph, and takes its rows of that gradient back through the encoder. The pool of negatives is the whole
batch's at all times, and memory is one chunk's.

Each chunk's dropout comes from a seed of its own, so its second pass draws what its first drew, whatever happened in
between, and a resumed run draws what the uninterrupted one would have drawn.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from matryoshka_text.data.passes import Chunk

__all__ = ["EmbeddedTexts", "chunk_seed"]

Embed = Callable[[Chunk], Tensor]


class EmbeddedTexts:
    """The vectors of a sequence of chunks, and the way back from a gradient on them to the encoder's parameters."""

    def __init__(
        self,
        embed: Embed,
        chunks: Sequence[Chunk],
        *,
        seed: int,
        cached: bool,
        autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`embed` gives the vectors of one chunk; `cached` drops each graph and builds it again in `backward`."""
        self._embed, self._chunks, self._seed, self._cached, self._autocast = embed, chunks, seed, cached, autocast
        self._outputs = [self._forward(index, graph=not cached) for index in range(len(chunks))]
        flat = torch.cat([output.detach() for output in self._outputs])
        positions = torch.cat([chunk.positions for chunk in chunks])
        self.vectors: Float[Tensor, "texts ..."] = torch.empty_like(flat).index_copy_(0, positions, flat)
        if cached:
            self._outputs = []

    @property
    def tokens(self) -> int:
        """Tokens embedded, padding not counted."""
        return sum(chunk.tokens for chunk in self._chunks)

    def backward(self, gradient: Float[Tensor, "texts ..."]) -> None:
        """Add to every parameter's gradient what `gradient` on the vectors makes of it."""
        for index, chunk in enumerate(self._chunks):
            output = self._forward(index, graph=True) if self._cached else self._outputs[index]
            torch.autograd.backward(output, gradient[chunk.positions])
        self._outputs = []

    def _forward(self, index: int, *, graph: bool) -> Tensor:
        torch.manual_seed(chunk_seed(self._seed, index))
        with torch.set_grad_enabled(graph), self._autocast():
            return self._embed(self._chunks[index]).float()


def chunk_seed(seed: int, index: int) -> int:
    """The seed of a chunk's dropout: far apart for neighbours (the finaliser of splitmix64)."""
    mask = (1 << 64) - 1
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) & ((1 << 63) - 1)
