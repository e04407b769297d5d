"""Every view against loops in float64, and what must not change a bit."""

from typing import Any

import numpy as np
import pytest

from matryoshka_text.errors import EvaluationError
from matryoshka_text.vectors.views import Fitted, View, bytes_per_vector, cut_of, unit_rows

WIDTH = 12


def some(rows: int, seed: int = 0) -> np.ndarray:
    scales = np.linspace(2.0, 0.1, WIDTH)
    vectors = np.random.default_rng(seed).normal(size=(rows, WIDTH)) * scales + 0.3
    return unit_rows(vectors.astype(np.float32))


def applied(view: View, vectors: np.ndarray, *, normalize: bool = True, unit: bool = True) -> np.ndarray:
    cut = cut_of(view, width=WIDTH, unit=unit, normalize=normalize, fitted=lambda: Fitted(some(200, seed=9)))
    found = cut.apply(np.ascontiguousarray(vectors[:, : cut.reads]))
    assert found.shape == (len(vectors), view.dim)
    assert found.dtype == np.float32
    return found


def by_loops(rows: list[list[float]]) -> np.ndarray:
    return np.array([[x / sum(y * y for y in row) ** 0.5 for x in row] for row in rows])


def test_a_prefix_is_read_alone_and_has_length_one() -> None:
    vectors = some(5)
    expected = by_loops([[float(x) for x in row[:4]] for row in vectors])
    np.testing.assert_allclose(applied(View(4), vectors), expected, atol=1e-7)
    np.testing.assert_array_equal(applied(View(4), vectors, normalize=False), vectors[:, :4])


def test_full_width_of_unit_length_is_not_touched() -> None:
    vectors = some(50)
    np.testing.assert_array_equal(applied(View(WIDTH), vectors), vectors)
    assert not np.array_equal(applied(View(WIDTH), 3 * vectors, unit=False), 3 * vectors)


def test_a_row_of_zeros_stays() -> None:
    np.testing.assert_array_equal(applied(View(4), np.zeros((2, WIDTH), np.float32)), np.zeros((2, 4)))


@pytest.mark.parametrize("method", ["pca", "svd"])
@pytest.mark.parametrize("dim", [1, 4, WIDTH])
def test_components_are_those_of_the_samples_singular_vectors(method: Any, dim: int) -> None:
    vectors, sample = some(7), some(200, seed=9).astype(np.float64)
    mean = sample.mean(axis=0) if method == "pca" else np.zeros(WIDTH)
    right = np.linalg.svd(sample - mean, full_matrices=False)[2]
    expected = (vectors.astype(np.float64) - mean) @ right[:dim].T
    found = applied(View(dim, method), vectors, normalize=False)
    # The sign of a component is free.
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=2e-6)


def test_components_need_more_texts_than_dims() -> None:
    with pytest.raises(EvaluationError, match=r"pca: 3 texts of the sample give no 4 components"):
        cut_of(View(4, "pca"), width=WIDTH, unit=True, normalize=True, fitted=lambda: Fitted(some(3)))


def test_random_coordinates_are_different_and_nested() -> None:
    vectors = np.tile(np.arange(WIDTH, dtype=np.float32), (1, 1))
    picked = {dim: applied(View(dim, "random", 3), vectors, normalize=False)[0].tolist() for dim in (2, 5, 11)}
    assert picked[2] == picked[5][:2] == picked[11][:2]
    assert len(set(picked[11])) == 11
    assert picked[5] != applied(View(5, "random", 4), vectors, normalize=False)[0].tolist()


def test_a_projection_keeps_lengths_on_average_and_is_the_seeds() -> None:
    vectors = some(300)
    lengths = [np.square(applied(View(8, "projection", seed), vectors, normalize=False)).sum(1) for seed in range(40)]
    assert np.mean(lengths) == pytest.approx(1.0, abs=0.05)
    one = applied(View(8, "projection", 1), vectors)
    np.testing.assert_array_equal(one, applied(View(8, "projection", 1), vectors))
    assert not np.allclose(one, applied(View(8, "projection", 2), vectors))


@pytest.mark.parametrize("method", ["rotation", "rotated"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_rotations_prefixes_are_those_of_the_product(method: Any, normalize: bool) -> None:
    vectors = some(9)
    matrix = np.linalg.qr(np.random.default_rng(2).normal(size=(WIDTH, WIDTH)))[0]
    turned = np.array([[sum(row[k] * matrix[k, j] for k in range(WIDTH)) for j in range(WIDTH)] for row in vectors])
    for dim in (1, 4, 11):
        cut = cut_of(
            View(dim, method), width=WIDTH, unit=True, normalize=normalize, fitted=pytest.fail, rotation=lambda: matrix
        )
        expected = by_loops(turned[:, :dim].tolist()) if normalize else turned[:, :dim]
        np.testing.assert_allclose(cut.apply(vectors), expected, atol=1e-6)


def test_at_full_width_what_is_fitted_on_the_documents_is_left_out() -> None:
    vectors = some(9)
    cut = cut_of(
        View(WIDTH, "rotation"), width=WIDTH, unit=True, normalize=True, fitted=pytest.fail, rotation=pytest.fail
    )
    np.testing.assert_array_equal(cut.apply(vectors), vectors)


def test_int8_is_calibrated_on_the_sample_and_clips() -> None:
    vectors = some(40)
    sample = applied(View(4), some(200, seed=9)).astype(np.float64)
    expected = np.empty((len(vectors), 4))
    for row, vector in enumerate(applied(View(4), vectors).astype(np.float64)):
        for place in range(4):
            low, high = sample[:, place].min(), sample[:, place].max()
            code = round((min(max(vector[place], low), high) - low) / ((high - low) / 255))
            expected[row, place] = low + code * (high - low) / 255
    found = applied(View(4, precision="int8"), vectors)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    one_by_one = np.concatenate([applied(View(4, precision="int8"), vectors[n : n + 1]) for n in range(len(vectors))])
    np.testing.assert_array_equal(found, one_by_one)  # a text's codes do not depend on its neighbours
    assert len(np.unique(found[:, 0])) <= 256


def test_binary_is_the_signs() -> None:
    vectors = some(20)
    found = applied(View(4, precision="binary"), vectors)
    np.testing.assert_array_equal(found > 0, vectors[:, :4] > 0)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert set(np.unique(applied(View(4, precision="binary"), vectors, normalize=False))) == {-1.0, 1.0}


def test_what_a_vector_takes() -> None:
    assert [bytes_per_vector(12, one) for one in ("float32", "int8", "binary")] == [48, 12, 2]
