"""Unpadded inputs, which FlashAttention alone reads: compared with sentence-transformers' own, without running them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from matryoshka_text.data.passes import Tokenizer
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.unpadded import unpadded

TEXTS = ["the cat", "a woman playing the guitar", "dog"]


def test_padding_stays_where_the_attention_needs_it(tiny_model: Path) -> None:
    assert unpadded(MatryoshkaEncoder(tiny_model, device="cpu")) is None


@pytest.mark.parametrize("family_name", ["bert", "modernbert", "roberta", "mpnet"])
def test_the_row_is_the_one_that_sentence_transformers_makes(family: Any, family_name: str) -> None:
    from transformers import DataCollatorWithFlattening

    encoder = MatryoshkaEncoder(family(family_name), device="cpu")
    module: Any = encoder[0]
    # As sentence-transformers sets it up where FlashAttention is installed.
    module.data_collator = DataCollatorWithFlattening(
        return_seq_idx=True, return_flash_attn_kwargs=True, return_position_ids=True
    )
    module.can_flatten_inputs, module._flatten_position_offset = True, module._infer_flatten_position_offset()
    collate = unpadded(encoder)
    assert collate is not None
    (chunk,) = Tokenizer(encoder.tokenizer, 16, collate).chunks(TEXTS, None)
    theirs = module.preprocess(TEXTS)
    shared = set(chunk.features) & set(theirs)
    assert {"input_ids", "position_ids", "cu_seq_lens_q", "max_length_q"} <= shared
    assert "attention_mask" not in chunk.features
    for name in shared:
        ours, expected = chunk.features[name], theirs[name]
        assert torch.equal(ours, expected) if torch.is_tensor(expected) else ours == expected, name
    assert set(theirs) - shared <= {"modality"}
    assert chunk.tokens == chunk.features["input_ids"].numel()
