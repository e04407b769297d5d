"""Files that say they are arrays."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from matryoshka_text.arrays import open_array, packed


def _head(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text


def test_an_array_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3, dtype=np.float32))
    found = open_array(tmp_path / "a.npy")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, np.eye(3))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        _head("(-5, 32)") + bytes(9999),
        _head(f"({2**62}, {2**62})") + bytes(99),
        _head("(1000000000000, 32)") + bytes(99),
        _head("(" * 5000 + ")" * 5000),
        _head("open('made', 'w')"),
        b"\x80\x04cos\nmkdir\n(S'made'\ntR.",
    ],
)
def test_what_is_no_array_is_one_kind_of_error(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        open_array(Path("a.npy"))
    assert not Path("made").exists()


def test_archives_objects_and_pipes(tmp_path: Path) -> None:
    np.savez(tmp_path / "many.npz", np.eye(3))
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    os.mkfifo(tmp_path / "pipe.npy")
    for name in ("many.npy", "objects.npy", "pipe.npy", "none.npy"):
        with pytest.raises(ValueError):
            open_array(tmp_path / name)


def test_safetensors_are_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    about = {f"word {n}": "é" * n for n in range(20)}
    tensors = {"b": np.eye(3), "a": np.arange(5, dtype=np.float32)}
    found = packed(tensors, about)
    head = found[8 : 8 + int.from_bytes(found[:8], "little")].decode()
    places = [head.index(f'"{word}"') for word in about]
    assert places == sorted(places)
    assert packed(tensors, about) == found
    (tmp_path / "t.safetensors").write_bytes(found)
    with safe_open(tmp_path / "t.safetensors", framework="numpy") as file:
        assert file.metadata() == about
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(file.get_tensor(name), tensor)
