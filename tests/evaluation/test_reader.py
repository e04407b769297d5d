"""The reader: each text once through the model, prefixes of length 1, and NaN is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation import reader as module
from matryoshka_text.evaluation.reader import TextReader
from matryoshka_text.evaluation.store import VectorStore


class Encoder:
    """Vectors that tell text, role and prompt apart; texts with `bad` in them give NaN."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None, str]] = []

    def _vectors(self, role: str, texts: list[str], prompt: str | None) -> np.ndarray:
        self.seen += [(role, prompt, text) for text in texts]
        rows = [[len(text), len(role), len(prompt or ""), 4.0] for text in texts]
        return np.array([[np.nan] * 4 if "bad" in t else r for t, r in zip(texts, rows, strict=True)], dtype=np.float32)

    def encode(self, texts: list[str], prompt: str | None = None, **settings: Any) -> np.ndarray:
        return self._vectors("", texts, prompt)

    def encode_query(self, texts: list[str], prompt: str | None = None, **settings: Any) -> np.ndarray:
        return self._vectors("query", texts, prompt)

    def encode_document(self, texts: list[str], prompt: str | None = None, **settings: Any) -> np.ndarray:
        return self._vectors("document", texts, prompt)


def make(tmp_path: Path) -> tuple[Encoder, TextReader]:
    encoder = Encoder()
    return encoder, TextReader(encoder, VectorStore(tmp_path, 4), batch_size=2)


def test_a_text_is_encoded_once_for_all_dims_and_repeats(tmp_path: Path) -> None:
    encoder, reader = make(tmp_path)
    full = reader.read(["a", "bb", "a"], dim=4, normalize=False)
    short = reader.read(["bb", "a"], dim=2, normalize=False)
    np.testing.assert_array_equal(full, [[1, 0, 0, 4], [2, 0, 0, 4], [1, 0, 0, 4]])
    np.testing.assert_array_equal(short, [[2, 0], [1, 0]])
    assert [text for _, _, text in encoder.seen] == ["bb", "a"]
    assert (reader.counts.encoded, reader.counts.found) == (2, 0)
    _, later = make(tmp_path)
    later.read(["a", "ccc"], dim=4, normalize=False)
    assert (later.counts.encoded, later.counts.found) == (1, 1)


def test_role_and_prompt_reach_the_model(tmp_path: Path) -> None:
    encoder, reader = make(tmp_path)
    reader.read(["a"], role="query", prompt="q: ", dim=4, normalize=False)
    reader.read(["a"], role="document", dim=4, normalize=False)
    assert encoder.seen == [("query", "q: ", "a"), ("document", None, "a")]


def test_prefixes_are_brought_back_to_length_one(tmp_path: Path) -> None:
    _, reader = make(tmp_path)
    found = reader.read(["a", ""], dim=2, normalize=True)
    np.testing.assert_allclose(found, [[1, 0], [0, 0]])
    assert np.isfinite(found).all()


def test_nan_names_the_texts_and_is_not_kept(tmp_path: Path) -> None:
    _, reader = make(tmp_path)
    with pytest.raises(EvaluationError, match=r"for 1 of 2 texts, such as 'bad text'"):
        reader.read(["good", "bad text"], dim=4, normalize=True)
    assert len(VectorStore(tmp_path, 4)) == 0


def test_a_kill_costs_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 2)
    _, reader = make(tmp_path)
    with pytest.raises(EvaluationError):
        reader.read(["aaaaaa", "aaaaa", "bad", "a"], dim=4, normalize=True)
    encoder, later = make(tmp_path)
    later.read(["aaaaaa", "aaaaa", "a"], dim=4, normalize=True)
    assert [text for _, _, text in encoder.seen] == ["a"]


def test_progress_counts_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 2)
    told: list[tuple[int, int]] = []
    reader = TextReader(
        Encoder(), VectorStore(tmp_path, 4), batch_size=2, on_progress=lambda done, total: told.append((done, total))
    )
    reader.read(["a", "b", "c"], dim=4, normalize=True)
    assert told == [(0, 3), (2, 3), (3, 3)]
