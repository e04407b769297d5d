from pathlib import Path

import numpy as np
import pytest

from matryoshka_text.encoding import encode_file
from matryoshka_text.errors import DataError, MtextError, RunError
from matryoshka_text.rotating.arrays import open_arrays
from matryoshka_text.rotation import split_sources


def test_arrays_are_mapped_and_folders_decoded(tiny_model: Path, lines: Path, tmp_path: Path) -> None:
    expected = np.random.default_rng(0).standard_normal((90, 32)).astype(np.float16)
    np.save(tmp_path / "v.npy", expected)
    for precision in ("float32", "float16", "int8"):
        encode_file(tiny_model, lines, tmp_path / precision, precision=precision, rows_per_part=150)  # type: ignore[arg-type]
    names = ("v.npy", "float32", "float16", "int8")
    found = open_arrays([tmp_path / name for name in names])
    assert list(found) == list(names)
    assert isinstance(found["v.npy"], np.memmap)
    parts = split_sources(found, most=60, held_back=0.1, seed=0)
    assert all((len(p.learned), len(p.held_back), p.learned.shape[1]) == (54, 6, 32) for p in parts.values())
    whole = [split_sources({"x": found[n]}, most=60, held_back=0.0, seed=0)["x"].learned for n in names[1:]]
    np.testing.assert_allclose(whole[1], whole[0], atol=1e-3)
    np.testing.assert_allclose(whole[2], whole[0], atol=2e-2)


def test_only_the_rows_drawn_are_read(tmp_path: Path) -> None:
    class Counted:
        shape, dtype = (10_000_000, 4), np.dtype(np.float32)
        read = 0

        def __len__(self) -> int:
            return self.shape[0]

        def __getitem__(self, rows: np.ndarray) -> np.ndarray:
            self.read += len(rows)
            return np.ones((len(rows), 4), dtype=np.float32)

    rows = Counted()
    split_sources({"a": rows}, most=100, held_back=0.1, seed=0)  # type: ignore[dict-item]
    assert rows.read == 100


def test_what_holds_no_vectors_is_told(tiny_model: Path, lines: Path, tmp_path: Path) -> None:
    encode_file(tiny_model, lines, tmp_path / "bits", precision="ubinary")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "rowless.npy", np.zeros((0, 4), np.float32))
    np.savez(tmp_path / "many.npz", a=np.eye(3))
    (tmp_path / "folder").mkdir()
    cases: list[tuple[str, type[MtextError], str]] = [
        ("bits", DataError, "one bit a dim; allowed: float32, float16 or int8; run `mtext encode` again"),
        ("objects.npy", DataError, "objects.npy: cannot be read as an array .*without pickles; save it again"),
        ("text.npy", DataError, "text.npy: cannot be read as an array"),
        ("empty.npy", DataError, "empty.npy: cannot be read as an array"),
        ("many.npz", DataError, "many.npz: is no .npy file; allowed: .npy and folders of `mtext encode`"),
        ("rowless.npy", DataError, r"it has shape \[0, 4\] of float32"),
        ("none.npy", DataError, "none.npy: there is no such file or folder"),
        ("folder", RunError, "encoding.json: cannot be read"),
    ]
    for name, kind, told in cases:
        with pytest.raises(kind, match=told):
            open_arrays([tmp_path / name])
    with pytest.raises(DataError, match="--vectors: none are given"):
        open_arrays([])
