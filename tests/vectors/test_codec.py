import numpy as np
import pytest

from matryoshka_text.vectors.codec import ranges_of, restored, stored


@pytest.fixture
def vectors() -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(50, 13)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_int8_is_the_nearest_of_256_steps_and_never_wraps_round(vectors: np.ndarray) -> None:
    ranges = ranges_of(vectors[:20])
    rows = stored(vectors, "int8", ranges)
    assert rows.dtype == np.int8
    for i, row in enumerate(vectors.astype(np.float64)):
        for j, value in enumerate(row):
            least, greatest = vectors[:20, j].min(), vectors[:20, j].max()
            exact = (value - least) / ((greatest - least) / 255) - 128
            assert abs(rows[i, j] - min(max(exact, -128), 127)) <= 0.5 + 1e-3
    back = restored(rows[:20], "int8", ranges, 13)
    assert back.dtype == np.float32
    widest = max(b - a for a, b in zip(*ranges, strict=True))
    np.testing.assert_allclose(back, vectors[:20], atol=widest / 255 / 2 + 1e-6)


def test_a_coordinate_that_never_changes_is_kept(vectors: np.ndarray) -> None:
    vectors[:, 3] = 0.25
    ranges = ranges_of(vectors)
    np.testing.assert_allclose(restored(stored(vectors, "int8", ranges), "int8", ranges, 13)[:, 3], 0.25, atol=1e-6)


def test_bits_are_the_signs_eight_in_a_byte(vectors: np.ndarray) -> None:
    rows = stored(vectors, "ubinary", None)
    assert (rows.shape, rows.dtype) == ((50, 2), np.uint8)
    for i in range(50):
        bits = "".join(f"{byte:08b}" for byte in rows[i])
        assert bits == "".join("1" if value > 0 else "0" for value in vectors[i]) + "000"
    np.testing.assert_array_equal(restored(rows, "ubinary", None, 13), np.where(vectors > 0, 1, -1))


def test_floats(vectors: np.ndarray) -> None:
    np.testing.assert_array_equal(stored(vectors, "float32", None), vectors)
    half = stored(vectors, "float16", None)
    assert half.dtype == np.float16
    np.testing.assert_allclose(restored(half, "float16", None, 13), vectors, atol=1e-3)


def test_bits_are_those_of_sentence_transformers_and_steps_are_next_to_theirs(vectors: np.ndarray) -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    np.testing.assert_array_equal(stored(vectors, "ubinary", None), quantize_embeddings(vectors, "ubinary"))
    ranges = ranges_of(vectors)
    theirs = quantize_embeddings(vectors, "int8", ranges=np.asarray(ranges, dtype=np.float32))
    # They round down.
    assert np.abs(stored(vectors, "int8", ranges).astype(int) - theirs).max() <= 1
