"""A rotation fitted once for documents, encoding, dims and settings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.rotations import Fit, rotation_of
from matryoshka_text.evaluation.tasks.sample import Sample
from matryoshka_text.rotation import FitSettings, Rotation

FIT = Fit((2, 4), FitSettings(steps=10, check_every=5))
TEXTS = Sample(tuple(f"text {n}" for n in range(40)), "the documents of t")


class Reader:
    """Vectors of the texts, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.append(tuple(texts))
        rng = np.random.default_rng(0)
        return rng.normal(size=(len(texts), 8)).astype(np.float32)


def test_it_is_what_learn_gives_and_is_fitted_once(tmp_path: Path) -> None:
    read, said, steps = Reader(), [], []
    progress = lambda done, total: steps.append((done, total))  # noqa: E731
    first = rotation_of(tmp_path, TEXTS, FIT, read, say=said.append, on_progress=progress)
    expected = Rotation.fit(read(TEXTS.texts), FIT.dims, FIT.settings)
    np.testing.assert_array_equal(first.matrix, expected.matrix)
    assert said == ["fitting a rotation on 40 of the documents of t, no queries and no labels"]
    assert steps == [(n, 10) for n in range(1, 11)]
    again = rotation_of(tmp_path, TEXTS, FIT, read)
    np.testing.assert_array_equal(again.matrix, first.matrix)
    assert len(read.asked) == 2
    assert again.record["documents"] == TEXTS.digest


def test_other_documents_encodings_dims_or_settings_are_fitted_anew(tmp_path: Path) -> None:
    read = Reader()
    rotation_of(tmp_path, TEXTS, FIT, read)
    rotation_of(tmp_path, Sample(TEXTS.texts[:-1], TEXTS.origin), FIT, read)
    rotation_of(tmp_path, TEXTS, FIT, read, encoding="a prompt")
    rotation_of(tmp_path, TEXTS, Fit((2, 5), FIT.settings), read)
    rotation_of(tmp_path, TEXTS, Fit(FIT.dims, FitSettings(steps=10, check_every=5, seed=1)), read)
    assert len(read.asked) == 5 == len(list(tmp_path.glob("*.safetensors")))


def test_too_few_documents_are_told_before_they_are_encoded(tmp_path: Path) -> None:
    read = Reader()
    with pytest.raises(EvaluationError, match="rotation: found 5 different documents; allowed: at least 6"):
        rotation_of(tmp_path, Sample(TEXTS.texts[:5], "x"), FIT, read)
    assert read.asked == []


def test_documents_whose_vectors_are_all_alike_are_told(tmp_path: Path) -> None:
    alike = lambda texts: np.ones((len(texts), 8), dtype=np.float32)  # noqa: E731
    with pytest.raises(EvaluationError, match=r"rotation: the documents of t: .*has 1 different rows"):
        rotation_of(tmp_path, TEXTS, FIT, alike)
    assert list(tmp_path.iterdir()) == []
