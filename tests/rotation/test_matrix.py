import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from matryoshka_text import Rotation
from matryoshka_text.errors import DataError
from matryoshka_text.rotation import matrix as module


def _orthogonal(width: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))[0]


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)


def test_saved_and_opened_it_is_the_same(tmp_path: Path) -> None:
    first = Rotation(_orthogonal(8), (2, 4), {"model": "a", "rows": {"x": 3}})
    first.save(tmp_path / "r.safetensors")
    again = Rotation.open(tmp_path / "r.safetensors")
    np.testing.assert_array_equal(again.matrix, first.matrix)
    assert (again.dims, again.record, again.width) == ((2, 4), {"model": "a", "rows": {"x": 3}}, 8)


def test_every_process_writes_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import numpy as np, sys; from matryoshka_text import Rotation\n"
        "Rotation(np.eye(4), (2,), {'a': 1, 'b': [2]}).save(sys.argv[1])"
    )
    for name in ("one", "two", "three"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()


def test_full_width_keeps_inner_products_and_a_prefix_has_unit_rows(vectors: np.ndarray) -> None:
    rotation = Rotation(_orthogonal(8), (4,))
    turned = rotation.apply(vectors)
    assert turned.dtype == np.float32
    np.testing.assert_allclose(turned, vectors @ rotation.matrix, atol=1e-6)
    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-4)
    cut = rotation.apply(vectors, dim=3)
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(rotation.apply(vectors, dim=3, unit=False), turned[:, :3], atol=1e-6)


def test_a_mapped_file_is_read_and_another_written_in_blocks(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 7)
    np.save(tmp_path / "in.npy", vectors)
    mapped = np.load(tmp_path / "in.npy", mmap_mode="r")
    rotation = Rotation(_orthogonal(8), (4,))
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float16, (50, 4))
    assert rotation.apply(mapped, dim=4, out=out) is out
    out.flush()
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), rotation.apply(vectors, dim=4), atol=1e-3)


def test_what_cannot_be_applied_is_told(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 10)
    rotation = Rotation(_orthogonal(8), (4,))
    with pytest.raises(ValueError, match=r"vectors have shape \[50, 7\]; allowed: \[rows, 8\]"):
        rotation.apply(vectors[:, :7])
    with pytest.raises(ValueError, match="dim is 9; allowed: 1 to 8"):
        rotation.apply(vectors, dim=9)
    with pytest.raises(ValueError, match=r"out has shape \[50, 8\] of int64; allowed: \[50, 8\] of floating point"):
        rotation.apply(vectors, out=np.empty((50, 8), dtype=np.int64))
    vectors[13], vectors[41] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"vectors: rows 13 \(from 0\) hold NaN or infinity"):
        rotation.apply(vectors)


def test_then_does_both(vectors: np.ndarray) -> None:
    first, later = Rotation(_orthogonal(8, 1), (2,)), Rotation(_orthogonal(8, 2), (4,))
    both = first.then(later)
    np.testing.assert_allclose(both.apply(vectors), later.apply(first.apply(vectors)), atol=1e-5)
    assert both.dims == (4,)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("matrix", "told"),
    [
        (np.eye(3)[:2], r"shape \[2, 3\]; allowed: \[width, width\]"),
        (np.zeros((0, 0)), r"shape \[0, 0\]"),
        (2 * np.eye(3), "not orthogonal"),
        (np.full((3, 3), np.nan), "not orthogonal"),
    ],
)
def test_a_matrix_that_is_no_rotation(matrix: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Rotation(matrix, (1,))


def test_files_that_are_no_rotation(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file; give a file that `mtext rotate` has written"):
        Rotation.open(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DataError, match="text: cannot be read as a rotation"):
        Rotation.open(tmp_path / "text")
    save_file({"weights": np.eye(3)}, tmp_path / "other")
    with pytest.raises(DataError, match="found the tensors weights; allowed: one called 'rotation'"):
        Rotation.open(tmp_path / "other")
    save_file({"rotation": 2 * np.eye(3)}, tmp_path / "scaled")
    with pytest.raises(DataError, match=r"scaled: cannot be read as a rotation \(the matrix is not orthogonal"):
        Rotation.open(tmp_path / "scaled")
    for metadata in ("[", "[]", json.dumps({"dims": 3})):
        save_file({"rotation": np.eye(3)}, tmp_path / "metadata", {"rotation": metadata})
        with pytest.raises(DataError, match="cannot be read as a rotation"):
            Rotation.open(tmp_path / "metadata")
    save_file({"rotation": np.eye(3, dtype=np.float32)}, tmp_path / "bare")
    assert Rotation.open(tmp_path / "bare").dims == ()
