"""Exact searches against float64 loops; what is said of their cost."""

import numpy as np
import pytest
import torch

from matryoshka_text.evaluation.report import cost
from matryoshka_text.evaluation.report.cost import costs, packed, search_binary, search_float32, search_int8

CORPUS = torch.nn.functional.normalize(torch.randn(301, 70, generator=torch.Generator().manual_seed(1)))
QUERIES = torch.nn.functional.normalize(torch.randn(7, 70, generator=torch.Generator().manual_seed(2)))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that divide nothing, so that what is merged comes of several."""
    monkeypatch.setattr(cost, "_BLOCK", 24)


def looped(queries: np.ndarray, corpus: np.ndarray, nearest: int) -> tuple[np.ndarray, np.ndarray]:
    """Every product by itself in float64, sorted."""
    scores = np.array([[sum(a * b for a, b in zip(q, c, strict=True)) for c in corpus] for q in queries])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :nearest]
    return np.take_along_axis(scores, order, axis=1), order


def test_float32_finds_what_a_loop_finds() -> None:
    scores, places = search_float32(QUERIES, CORPUS, 10)
    wanted, order = looped(QUERIES.double().numpy(), CORPUS.double().numpy(), 10)
    assert (places.numpy() == order).all()
    np.testing.assert_allclose(scores, wanted, atol=1e-6)


def test_int8_finds_what_a_loop_over_the_codes_finds() -> None:
    codes = (CORPUS * 300).round().clamp(-127, 127).to(torch.int8)
    scores, places = search_int8(QUERIES, codes, 10)
    wanted, order = looped(QUERIES.double().numpy(), codes.double().numpy(), 10)
    assert (places.numpy() == order).all()
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)


def test_binary_finds_the_distances_that_a_loop_finds() -> None:
    scores, places = search_binary(packed(QUERIES), packed(CORPUS), 10)
    signs = [[(np.asarray(one) > 0) for one in vectors] for vectors in (QUERIES, CORPUS)]
    unequal = np.array([[sum(a != b for a, b in zip(q, c, strict=True)) for c in signs[1]] for q in signs[0]])
    assert (-scores.numpy() == np.sort(unequal, axis=1)[:, :10]).all()
    # Equal distances may come in any order; each place has the distance that is said.
    assert (np.take_along_axis(unequal, places.numpy(), axis=1) == -scores.numpy()).all()
    assert all(len(set(found)) == 10 for found in places.tolist())


def test_fewer_vectors_than_are_asked_for() -> None:
    assert search_float32(QUERIES, CORPUS[:3], 10)[1].shape == (7, 3)


def test_bits_lie_in_words() -> None:
    assert packed(CORPUS).shape == (2, 301)
    assert int(packed(CORPUS)[1].max()) < 2**8
    assert packed(torch.tensor([[1.0, -1, 0, 2]])).tolist() == [[0b10010000]]


def test_bytes_and_gigabytes() -> None:
    found = costs((12, 384), ("float32", "int8", "binary"), measure=False)
    assert [one.bytes_per_vector for one in found.lines] == [48, 1536, 12, 384, 2, 48]
    assert found.lines[1].gigabytes == 1.536
    assert found.how == "" and found.slowest is None
    assert "| 384 | float32 | 1,536 | 1.536 | - | - |" in found.markdown()


def test_measured_searches_are_said_to_be_of_this_machine() -> None:
    found = costs((4, 8), ("float32", "int8", "binary"), vectors=200)
    assert all(one.milliseconds and one.milliseconds > 0 for one in found.lines)
    assert found.slowest == found.of(8, "float32")
    assert found.slowest is not None and found.ratio(found.slowest) == 1
    assert "top-10 search over 200 random unit vectors" in found.how and "thread" in found.how
    assert found.of(8, "float32") in found.lines and found.of(16, "float32") is None


def test_wide_vectors_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_MOST_BYTES", 4 * 8 * 50)
    assert "over 50 random" in costs((8,), vectors=200).how
