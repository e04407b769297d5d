"""Vectors with neighbourhoods: clusters in a space whose first coordinates say little, as models give them."""

import numpy as np
import pytest

ROWS, WIDTH = 3000, 64


def clustered(rows: int, seed: int, width: int = WIDTH) -> np.ndarray:
    """Unit rows round 60 centres; the same centres and the same turn for every seed."""
    fixed = np.random.default_rng(7)
    centres = fixed.standard_normal((60, width)) * np.linspace(2.0, 0.2, width)
    turn = np.linalg.qr(fixed.standard_normal((width, width)))[0]
    draw = np.random.default_rng(seed)
    found = centres[draw.integers(0, 60, rows)] + 0.5 * draw.standard_normal((rows, width)) * np.linspace(1, 0.1, width)
    found = found @ turn
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    return clustered(ROWS, 0)


@pytest.fixture(scope="session")
def queries() -> np.ndarray:
    return clustered(80, 1)


def best_rows(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The exact answer, by loops in float64."""
    found = []
    for query in queries.astype(np.float64):
        scores = [
            float(row @ query) / float(np.linalg.norm(row) * np.linalg.norm(query))
            for row in vectors.astype(np.float64)
        ]
        found.append(sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:k])
    return np.array(found)
