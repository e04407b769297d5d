from pathlib import Path

import numpy as np
import pytest
import torch

from matryoshka_text.data.passes import Tokenizer, like_lengths
from matryoshka_text.encoder import MatryoshkaEncoder

TEXTS = ["the cat", "money transfer to my bank account " * 10, "a woman playing the guitar", "dog"]


def test_chunks_cover_every_text_once_and_are_sorted_by_length(tiny_model: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    chunks = Tokenizer(encoder.tokenizer, 16).chunks(TEXTS, 2)
    assert [chunk.positions.tolist() for chunk in chunks] == [[3, 0], [2, 1]]
    assert [tuple(chunk.features["input_ids"].shape) for chunk in chunks] == [(2, 4), (2, 16)]
    assert [chunk.tokens for chunk in chunks] == [3 + 4, 7 + 16]
    assert chunks[0].features["attention_mask"].sum() == 7


def test_one_chunk_keeps_the_order(tiny_model: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    (chunk,) = Tokenizer(encoder.tokenizer, 16).chunks(TEXTS, None)
    assert chunk.positions.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family_name", ["bert", "roberta", "mpnet", "modernbert"])
def test_padding_is_the_tokenizers_own(family, family_name: str, side: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(family(family_name))
    tokenizer.padding_side = side
    (chunk,) = Tokenizer(tokenizer, 16).chunks(TEXTS, None)
    theirs = tokenizer(TEXTS, truncation=True, max_length=16, padding=True, return_tensors="pt")
    assert set(chunk.features) == set(theirs)
    for name, expected in theirs.items():
        assert torch.equal(chunk.features[name], expected), name


def test_the_training_length_stays_out_of_the_encoder(tiny_model: Path, tmp_path: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    before = torch.tensor(encoder.encode(TEXTS))
    Tokenizer(encoder.tokenizer, 8).chunks(TEXTS, None)
    assert encoder.max_seq_length == 64
    assert torch.equal(torch.tensor(encoder.encode(TEXTS)), before)
    encoder.save(str(tmp_path / "model"))
    again = MatryoshkaEncoder(tmp_path / "model", device="cpu")
    assert again.max_seq_length == 64
    assert torch.equal(torch.tensor(again.encode(TEXTS)), before)


def test_a_budget_of_tokens_counts_padding_and_cuts_no_text() -> None:
    lengths = np.asarray([9, 2, 5, 2, 3, 40, 4])
    parts = like_lengths(lengths, None, tokens=12)
    assert [part.tolist() for part in parts] == [[1, 3, 4], [6, 2], [0], [5]]
    assert all(len(part) * max(lengths[part]) <= 12 for part in parts[:-1])
    # Longer than the budget by itself: alone, and whole.
    assert lengths[parts[-1]].tolist() == [40]


def test_a_budget_fills_passes_that_a_count_of_texts_leaves_uneven(tiny_model: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    texts = ["the cat"] * 30 + ["the cat and the dog " * 3] * 10
    chunks = Tokenizer(encoder.tokenizer, 64).chunks(texts, None, tokens=64)
    padded = [chunk.features["input_ids"].numel() for chunk in chunks]
    assert max(padded) <= 64
    # The first pass of the long texts and the last of the short ones may be small, no other is.
    assert sum(size < 32 for size in padded) <= 2
    assert sorted(torch.cat([chunk.positions for chunk in chunks]).tolist()) == list(range(40))


def test_nothing_makes_no_chunk() -> None:
    assert like_lengths(np.zeros(0, dtype=np.int64), None) == []
    assert like_lengths(np.zeros(0, dtype=np.int64), 3) == []
    assert like_lengths(np.zeros(0, dtype=np.int64), None, 3) == []
