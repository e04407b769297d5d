"""The reader: each text once through the model, a full disk is said, and NaN is named."""

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from matryoshka_text.errors import EvaluationError, RunError
from matryoshka_text.vectors import reader as module
from matryoshka_text.vectors.reader import TextReader
from matryoshka_text.vectors.store import VectorStore


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
    return encoder, TextReader(encoder, VectorStore(tmp_path, 4))


def test_a_text_is_encoded_once_for_all_dims_and_repeats(tmp_path: Path) -> None:
    encoder, reader = make(tmp_path)
    full = reader.read(["a", "bb", "a"], dim=4)
    short = reader.read(["bb", "a"], dim=2)
    np.testing.assert_array_equal(full, [[1, 0, 0, 4], [2, 0, 0, 4], [1, 0, 0, 4]])
    np.testing.assert_array_equal(short, [[2, 0], [1, 0]])
    assert [text for _, _, text in encoder.seen] == ["bb", "a"]
    assert (reader.counts.encoded, reader.counts.found) == (2, 0)
    _, later = make(tmp_path)
    later.read(["a", "ccc"], dim=4)
    assert (later.counts.encoded, later.counts.found) == (1, 1)


def test_role_and_prompt_reach_the_model(tmp_path: Path) -> None:
    encoder, reader = make(tmp_path)
    reader.read(["a"], role="query", prompt="q: ", dim=4)
    reader.read(["a"], role="document", dim=4)
    assert encoder.seen == [("query", "q: ", "a"), ("document", "", "a")]


def test_the_prompt_that_the_model_takes_by_itself_is_in_the_key(tmp_path: Path) -> None:
    encoder, reader = make(tmp_path)
    encoder.prompts = {"query": "q: ", "document": "", "passage": "never: "}
    encoder.default_prompt_name = None
    reader.read(["a"], role="query", dim=4)
    reader.read(["a"], role="query", prompt="q: ", dim=4)
    reader.read(["a"], role="document", dim=4)
    reader.read(["a"], dim=4)
    # The document's empty prompt is no prompt: the text as it is was encoded already.
    assert encoder.seen == [("query", "q: ", "a"), ("document", "", "a")]


def test_a_model_with_layers_for_each_role_keeps_them_apart(tmp_path: Path) -> None:
    class Router:
        pass

    encoder, reader = make(tmp_path)
    monkey = type("Routed", (Encoder,), {"__iter__": lambda self: iter([Router()])})
    reader.encoder = encoder = monkey()
    reader.read(["a"], role="query", dim=4)
    reader.read(["a"], role="document", dim=4)
    assert len(encoder.seen) == 2


def test_a_full_disk_says_what_is_kept_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = TextReader(Encoder(), VectorStore(tmp_path, 4), elsewhere=", or write elsewhere")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(reader.store, "add", full)
    with pytest.raises(
        RunError, match=r"the disk is full .* is kept: free some space, or write elsewhere, and run the same"
    ):
        reader.read(["a"], dim=4)


def test_too_small_a_disk_is_found_before_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, reader = make(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(RunError, match=r"storing 1 vectors needs 0\.0 MB, and the disk has 0\.0 MB free"):
        reader.read(["a"], dim=4)
    assert encoder.seen == []


def test_nan_names_the_texts_and_is_not_kept(tmp_path: Path) -> None:
    _, reader = make(tmp_path)
    with pytest.raises(EvaluationError, match=r"for 1 of 2 texts, such as 'bad text'"):
        reader.read(["good", "bad text"], dim=4)
    assert len(VectorStore(tmp_path, 4)) == 0


def test_a_kill_costs_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 2)
    _, reader = make(tmp_path)
    with pytest.raises(EvaluationError):
        reader.read(["aaaaaa", "aaaaa", "bad", "a"], dim=4)
    encoder, later = make(tmp_path)
    later.read(["aaaaaa", "aaaaa", "a"], dim=4)
    assert [text for _, _, text in encoder.seen] == ["a"]


def test_progress_counts_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 2)
    told: list[tuple[int, int]] = []
    reader = TextReader(Encoder(), VectorStore(tmp_path, 4), on_progress=lambda done, total: told.append((done, total)))
    reader.read(["a", "b", "c"], dim=4)
    assert told == [(0, 3), (2, 3), (3, 3)]
