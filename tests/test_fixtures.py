"""The tiny model of the suite is a real one: a fixture that is broken would hollow out every test that stands on it."""

from pathlib import Path

import numpy as np


def test_the_tiny_model_tells_texts_apart(tiny_model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    first, second = model.encode(["the cat is sleeping", "money transfer to my bank account"])
    assert first.shape == (32,)
    assert abs(float(np.linalg.norm(first)) - 1) < 1e-6
    assert float(first @ second) < 0.999
