from pathlib import Path

import numpy as np
import pytest

from matryoshka_text import Rotation
from matryoshka_text.errors import DataError
from matryoshka_text.rotation import FitSettings, kept_by_source, learn, split_sources

QUICK = FitSettings(steps=20, anchors=32, check_every=10, warmup=2)


def _vectors(rows: int, seed: int = 0, width: int = 16) -> np.ndarray:
    """Most of the variance lies in a few directions that no coordinate has for itself."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(9).standard_normal((width, width)))[0]
    return (rng.standard_normal((rows, width)) * np.linspace(2, 0.05, width) @ axes).astype(np.float32)


def test_held_back_rows_keep_more_neighbours_than_before() -> None:
    done = learn({"a": _vectors(400), "b": _vectors(300, 1)}, (4, 8), QUICK)
    assert [one.source for one in done.kept] == ["a", "b"]
    assert [(one.rows, one.asked) for one in done.kept] == [(400, 40), (300, 30)]
    before, after = done.mean(after=False), done.mean(after=True)
    assert list(before) == [2, 4, 6, 8, 10, 12, 14]  # the dims and the eighths of the width
    assert all(after[dim] > before[dim] + 0.1 for dim in (4, 8))
    assert before[4] == pytest.approx(sum(one.before[4] for one in done.kept) / 2)
    assert {check.step for check in done.checks} == {0, 10, 20}
    assert done.rotation.dims == (4, 8)
    assert done.rotation.record["rows"] == {"a": 400, "b": 300}


def test_the_same_call_gives_the_same_bits_and_a_mapped_file_too(tmp_path: Path) -> None:
    vectors = _vectors(300)
    np.save(tmp_path / "v.npy", vectors)
    first = learn({"a": vectors}, (4,), QUICK, most=200)
    again = learn({"a": np.load(tmp_path / "v.npy", mmap_mode="r")}, (4,), QUICK, most=200)
    np.testing.assert_array_equal(first.rotation.matrix, again.rotation.matrix)
    assert first.kept == again.kept
    np.testing.assert_array_equal(
        Rotation.fit(vectors, (4,), QUICK, most=200).matrix, Rotation.fit({"a": vectors}, (4,), QUICK, most=200).matrix
    )


def test_without_a_rotation_before_is_after_and_all_rows_may_be_asked() -> None:
    parts = split_sources({"a": _vectors(50)}, most=1000, held_back=1.0, seed=0)
    (kept,) = kept_by_source(parts, (4, 16))
    assert kept.before == kept.after
    assert (kept.rows, kept.asked) == (50, 50)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ({}, "no vectors are given"),
        ({"a": np.ones(7, np.float32)}, r"a: found an array of shape \[7\] of float32; allowed: \[rows, width\]"),
        ({"a": np.ones((7, 4), np.int64)}, r"a: found an array of shape \[7, 4\] of int64; .* floating-point"),
        ({"a": np.ones((0, 4))}, r"shape \[0, 4\]"),
        ({"a": _vectors(90), "b": _vectors(90)[:, :8]}, r"different widths \(a: 16, b: 8\); allowed: one width"),
        ({"a": _vectors(3)}, "cannot be learned: .* has 3 different rows; .* a neighbourhood of 4 .*0 is a"),
        ({"a": np.ones((90, 16))}, "different rows; allowed: more than a neighbourhood"),
    ],
)
def test_what_cannot_be_learned_from_is_told(sources: dict[str, np.ndarray], told: str) -> None:
    with pytest.raises(DataError, match=told):
        learn(sources, (4,), QUICK)


@pytest.mark.parametrize(("value", "told"), [(np.nan, "NaN or infinity"), (np.inf, "NaN"), (0.0, "only zeros")])
def test_bad_rows_are_named_by_their_numbers(value: float, told: str) -> None:
    vectors = _vectors(100)
    vectors[[17, 60]] = value
    with pytest.raises(DataError, match=rf"mine: found {told}.* in \d of .* rows (17|60|17, 60) \(from 0\)"):
        Rotation.fit({"mine": vectors}, (4,), QUICK)


@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1e25, 1e60])
def test_the_scale_of_the_vectors_does_not_matter(scale: float) -> None:
    vectors = _vectors(300).astype(np.float64)
    plain, scaled = (Rotation.fit(rows, (4, 8), QUICK) for rows in (vectors, vectors * scale))
    np.testing.assert_allclose(scaled.matrix, plain.matrix, atol=1e-4)
    small = scaled.apply(vectors[:20] * scale, dim=4)
    np.testing.assert_allclose(np.linalg.norm(small, axis=1), 1, atol=1e-5)


def test_rows_without_direction_are_all_named_at_once() -> None:
    vectors = _vectors(300)
    vectors[[5, 77, 299]] = np.nan
    with pytest.raises(DataError, match=r"found NaN or infinity in 3 of the 300 rows read, rows 5, 77, 299 \(from 0\)"):
        learn({"a": vectors}, (4,), QUICK)


def test_settings_that_lead_nowhere_are_an_error_and_not_a_crash() -> None:
    with pytest.raises(ValueError, match="temperature"):
        FitSettings(temperature=1e-40)
    with pytest.raises(ValueError, match="seed"):
        FitSettings(seed=-1)
    with pytest.raises(DataError, match="held_back"):
        learn({"a": _vectors(300)}, (4,), QUICK, held_back=-0.1)
