"""Encoders of the families, and masked sentences in their vocabulary."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from matryoshka_text.data.masking import MaskedChunk, Masker
from matryoshka_text.data.packing import pack
from matryoshka_text.encoder import MatryoshkaEncoder


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    return [
        "the cat is sleeping on the red chair",
        "money transfer to my bank account, please",
        "a man and a woman are playing guitar in the street",
        "what is the answer to the question?",
    ]


@pytest.fixture
def encoder_of(family: Callable[[str], Path]) -> Callable[[str], MatryoshkaEncoder]:
    """encoder_of("roberta"): the tiny random checkpoint of that family as an encoder on the CPU, in evaluation mode."""
    return lambda name: MatryoshkaEncoder(family(name), device="cpu").eval()


@pytest.fixture
def bare_encoder_of(
    encoder_of: Callable[[str], MatryoshkaEncoder], tmp_path: Path
) -> Callable[[str], MatryoshkaEncoder]:
    """The same, saved in sentence-transformers' format and opened again: its checkpoint has no head any more."""

    def make(name: str) -> MatryoshkaEncoder:
        encoder_of(name).save(str(tmp_path / name))
        return MatryoshkaEncoder(tmp_path / name, device="cpu").eval()

    return make


@pytest.fixture
def masked_chunk(sentences: list[str]) -> Callable[[Any], MaskedChunk]:
    """The sentences of unequal lengths in one chunk, 30% of their tokens to be predicted."""

    def make(tokenizer: Any) -> MaskedChunk:
        packed = pack(sentences, tokenizer, max_length=64, packing=False)
        ids = [packed.ids(index) for index in range(len(packed))]
        return Masker(tokenizer, 0.3).chunks(
            Masker(tokenizer, 0.3).mask(ids, keys=[(7, index) for index in range(len(ids))]), None
        )[0]

    return make


@pytest.fixture
def logits_of() -> Callable[..., torch.Tensor]:
    """logits_of(encoder, head, chunk): at full width, from the encoder's own vocabulary matrix."""
    from matryoshka_text.heads.vocabulary import VocabularyHead, backbone_of, masked_hidden, vocabulary_matrix

    def make(encoder: MatryoshkaEncoder, head: VocabularyHead, chunk: MaskedChunk) -> torch.Tensor:
        backbone = backbone_of(encoder)
        rows = head.rows(masked_hidden(backbone, chunk.features, chunk.rows))
        return rows @ vocabulary_matrix(backbone).T + head.bias

    return make
