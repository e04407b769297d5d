from pathlib import Path

import torch

from matryoshka_text.data.batches import Tokenizer
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
