"""The types that `encode` promises, and what it gives."""

import inspect
from pathlib import Path
from typing import Any, get_overloads, get_type_hints

import numpy as np
import pytest
from torch import Tensor

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.encode import EncodeSettings
from matryoshka_text.encoder.prefixes import PrefixEncoder

TEXTS = ["the cat is sleeping", "money transfer"]


@pytest.mark.parametrize(
    ("words", "one", "several"),
    [
        ({}, np.ndarray, np.ndarray),
        ({"convert_to_tensor": True}, Tensor, Tensor),
        ({"convert_to_numpy": False}, Tensor, list),
        ({"output_value": "token_embeddings"}, Tensor, list),
        ({"output_value": None}, dict, list),
    ],
)
def test_what_comes_back_is_of_the_promised_type(
    tiny_model: Path, words: dict[str, Any], one: type, several: type
) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    assert isinstance(encoder.encode(TEXTS[0], **words), one)
    assert isinstance(encoder.encode(TEXTS, **words), several)
    assert isinstance(encoder.encode(sentences=TEXTS, **words), several)


def test_no_promise_is_any() -> None:
    for method in (PrefixEncoder.encode, PrefixEncoder.encode_query, PrefixEncoder.encode_document):
        promises = get_overloads(method)
        assert len(promises) >= 2
        for promise in promises:
            signature = inspect.signature(promise)
            written = [part.annotation for part in signature.parameters.values()] + [signature.return_annotation]
            assert "Any" not in " ".join(map(str, written))
    assert Any not in get_type_hints(EncodeSettings).values()


def test_positions_are_those_of_sentence_transformers(tiny_model: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    expected = encoder.encode(["my " + text for text in TEXTS], normalize_embeddings=True, truncate_dim=8)
    given = encoder.encode(TEXTS, None, "my ", 2, False, "sentence_embedding", "float32", True, False, "cpu", True, 8)
    np.testing.assert_allclose(given, expected, atol=1e-6)
    for asked in (encoder.encode_query, encoder.encode_document):
        np.testing.assert_allclose(
            asked(TEXTS, None, "my ", 2, False, truncate_dim=8, normalize_embeddings=True), expected, atol=1e-6
        )
