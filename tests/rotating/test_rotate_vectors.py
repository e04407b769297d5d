from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matryoshka_text import Rotation, rotate
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoding import encode_file
from matryoshka_text.errors import DataError, MtextError, RunError
from matryoshka_text.rotating.rotate_vectors import rotate_vectors
from matryoshka_text.rotation import FitSettings


@pytest.fixture
def array(tiny_model: Path, sentences: list[str], tmp_path: Path) -> Path:
    np.save(tmp_path / "v.npy", MatryoshkaEncoder(tiny_model, device="cpu").encode(sentences))
    return tmp_path / "v.npy"


def test_vectors_give_the_rotation_that_their_texts_give(
    tiny_model: Path, array: Path, sentences: list[str], settings: FitSettings, tmp_path: Path
) -> None:
    done = rotate_vectors([array], tmp_path / "r.safetensors", settings=settings)
    assert done.new and done.rotation.dims == (8, 16, 32)
    of_texts = rotate(tiny_model, sentences, settings=settings)
    np.testing.assert_allclose(np.abs(done.rotation.matrix), np.abs(of_texts.rotation.matrix), atol=2e-2)
    opened = Rotation.open(tmp_path / "r.safetensors")
    np.testing.assert_array_equal(opened.matrix, done.rotation.matrix)
    assert opened.record["sources"] == ["v.npy"]
    assert "v.npy" in str(done) and "after" in str(done)


def test_folders_of_vectors_are_sources(tiny_model: Path, lines: Path, settings: FitSettings, tmp_path: Path) -> None:
    for precision in ("float16", "int8"):
        encode_file(tiny_model, lines, tmp_path / precision, precision=precision, rows_per_part=90)  # type: ignore[arg-type]
    done = rotate_vectors([tmp_path / "float16", tmp_path / "int8"], tmp_path / "r.safetensors", settings=settings)
    assert [one.source for one in done.kept] == ["float16", "int8"]


def test_the_same_file_is_left_alone_and_another_refused(array: Path, settings: FitSettings, tmp_path: Path) -> None:
    out = tmp_path / "r.safetensors"
    first = rotate_vectors([array], out, settings=settings)
    content, time = out.read_bytes(), out.stat().st_mtime_ns
    again = rotate_vectors([array.rename(tmp_path / "w.npy")], out, settings=settings)
    assert not again.new and out.stat().st_mtime_ns == time
    assert [one.after for one in again.kept] == [one.after for one in first.kept]
    for words, told in (
        ({"settings": FitSettings(steps=3)}, ".*steps: 12 there, 3 asked for; .*"),
        ({"settings": settings, "dims": (4,)}, r"dims: \[8, 16, 32\] there, \[4, 32\] asked for"),
        ({"settings": settings, "most": 300}, r"rows: \[\'sha256 .*"),
        ({"settings": settings, "split": 2}, "split: 1 there, 2 asked for"),
    ):
        with pytest.raises(RunError, match=rf"holds another rotation \({told}\); .*write elsewhere with --out"):
            rotate_vectors([tmp_path / "w.npy"], out, **words)  # type: ignore[arg-type]
    assert out.read_bytes() == content
    rotate_vectors([tmp_path / "w.npy"], tmp_path / "other.safetensors", settings=settings, split=2)
    (tmp_path / "text.safetensors").write_text("mine")
    with pytest.raises(RunError, match=r"--out: .*text.safetensors: cannot be read as a rotation.* or remove this one"):
        rotate_vectors([tmp_path / "w.npy"], tmp_path / "text.safetensors", settings=settings)


def _changed(vectors: np.ndarray, rows: slice, value: float) -> np.ndarray:
    vectors = vectors.copy()
    vectors[rows] = value
    return vectors


WRONG: list[tuple[Any, str]] = [
    (lambda v: v[:40], "v.npy: found 40 different vectors in all; allowed: at least 64, twice the 32 dims"),
    (lambda v: v[0], r"v.npy: cannot be read as an array \(it has shape \[32\] of float32"),
    (lambda v: (100 * v).astype(np.int8), "of int8\); allowed: .* of floating-point numbers"),
    (lambda v: _changed(v, slice(5, 6), np.nan), r"v.npy: found NaN or infinity in 1 of the .* rows 5 \(from 0\)"),
    (lambda v: _changed(v, slice(5, 12), 0), r"v.npy: found only zeros in \d of the .* rows "),
    (lambda v: np.repeat(v[:1], 100, axis=0), "found 1 different vector in all; allowed: at least 64"),
]


@pytest.mark.parametrize(("change", "told"), WRONG)
def test_vectors_that_cannot_be_used_are_told(
    change: Any, told: str, array: Path, settings: FitSettings, tmp_path: Path
) -> None:
    np.save(array, change(np.load(array)))
    with pytest.raises(MtextError, match=told):
        rotate_vectors([array], tmp_path / "r.safetensors", settings=settings)
    assert not (tmp_path / "r.safetensors").exists()


def test_different_widths_and_other_places_are_told(array: Path, settings: FitSettings, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.load(array)[:, :16])
    with pytest.raises(DataError, match=r"different widths \(v.npy: 32, w.npy: 16\)"):
        rotate_vectors([array, tmp_path / "w.npy"], tmp_path / "r.safetensors", settings=settings)
    with pytest.raises(
        DataError, match=r"--out: found .*out; allowed with --vectors: a file that ends in .safetensors"
    ):
        rotate_vectors([array], tmp_path / "out", settings=settings)
