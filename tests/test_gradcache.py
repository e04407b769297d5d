"""Gradient caching against one big pass, and against a chunked pass kept in one graph."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from matryoshka_text.data.passes import Chunk, Tokenizer
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.gradcache import EmbeddedTexts

TEXTS = [
    f"{a} {b} the {c}" for a in ("cat", "dog", "bank") for b in ("is", "was") for c in ("house", "water", "light city")
]


def _encoder(tiny_model: Path, dropout: float) -> MatryoshkaEncoder:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu").train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return encoder


def _loss(vectors: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(20 * vectors[:9] @ vectors[9:].T, torch.arange(9))


def _gradient(encoder: MatryoshkaEncoder) -> Tensor:
    # Scaled by its own size: a bare embedding table would drown the biases.
    return torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None]).clone()


def _through_cache(
    encoder: MatryoshkaEncoder, chunk: int | None, tokens: int | None = None, *, cached: bool
) -> tuple[Tensor, Tensor]:
    def embed(part: Chunk) -> Tensor:
        return encoder(dict(part.features))["sentence_embedding"]

    encoder.zero_grad()
    chunks = Tokenizer(encoder.tokenizer, 16).chunks(TEXTS, chunk, tokens)
    embedded = EmbeddedTexts(embed, chunks, seed=5, cached=cached)
    leaf = embedded.vectors.clone().requires_grad_()
    _loss(leaf).backward()
    embedded.backward(leaf.grad)
    return embedded.vectors, _gradient(encoder)


@pytest.mark.parametrize(("chunk", "tokens"), [(1, None), (4, None), (7, None), (18, None), (None, 30), (None, 4)])
def test_without_dropout_it_equals_one_big_pass(tiny_model: Path, chunk: int | None, tokens: int | None) -> None:
    encoder = _encoder(tiny_model, 0.0)
    (whole,) = Tokenizer(encoder.tokenizer, 16).chunks(TEXTS, None)
    vectors = encoder(dict(whole.features))["sentence_embedding"]
    _loss(vectors).backward()
    expected = _gradient(encoder)
    ours, gradient = _through_cache(encoder, chunk, tokens, cached=True)
    torch.testing.assert_close(ours, vectors.detach(), atol=1e-6, rtol=0)
    assert (gradient - expected).norm() <= 2e-6 * expected.norm()


@pytest.mark.parametrize("chunk", [4, None])
def test_with_dropout_it_equals_the_chunks_kept_in_one_graph(tiny_model: Path, chunk: int | None) -> None:
    encoder = _encoder(tiny_model, 0.3)
    kept, expected = _through_cache(encoder, chunk, cached=False)
    torch.rand(7)  # whatever happens in between
    ours, gradient = _through_cache(encoder, chunk, cached=True)
    assert torch.equal(ours, kept)
    assert torch.equal(gradient, expected)
    torch.manual_seed(0)
    assert not torch.equal(
        encoder(dict(Tokenizer(encoder.tokenizer, 16).chunks(TEXTS, None)[0].features))["sentence_embedding"], kept
    )


def test_chunks_draw_differently(tiny_model: Path) -> None:
    encoder = _encoder(tiny_model, 0.5)
    chunks = Tokenizer(encoder.tokenizer, 16).chunks(["the cat", "the cat"], 1)
    first, second = EmbeddedTexts(
        lambda c: encoder(dict(c.features))["sentence_embedding"], chunks, seed=1, cached=True
    ).vectors
    assert not torch.equal(first, second)


def test_the_first_pass_keeps_no_graph(tiny_model: Path) -> None:
    encoder = _encoder(tiny_model, 0.0)
    seen: list[bool] = []

    def embed(part: Chunk) -> Tensor:
        out = encoder(dict(part.features))["sentence_embedding"]
        seen.append(out.requires_grad)
        return out

    embedded = EmbeddedTexts(embed, Tokenizer(encoder.tokenizer, 16).chunks(TEXTS, 9), seed=0, cached=True)
    assert seen == [False, False]
    embedded.backward(torch.ones_like(embedded.vectors))
    assert seen == [False, False, True, True]
