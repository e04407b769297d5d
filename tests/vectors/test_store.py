"""The store: what is kept comes back, and damage costs time, never a wrong vector."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matryoshka_text.errors import EvaluationError, RunError
from matryoshka_text.vectors.store import VectorStore, text_key


def vectors(seed: int, rows: int, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def keys(*texts: str) -> list[bytes]:
    return [text_key("", None, text) for text in texts]


def test_vectors_come_back_in_any_order_at_any_prefix_also_after_reopening(tmp_path: Path) -> None:
    store, first, second = VectorStore(tmp_path, 8), vectors(0, 2), vectors(1, 1)
    store.add(keys("a", "b"), first)
    store.add(keys("c"), second)
    for opened in (store, VectorStore(tmp_path, 8)):
        assert len(opened) == 3
        found = opened.prefixes(keys("c", "a", "c"), 5)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.stack([second[0], first[0], second[0]])[:, :5])


def test_a_returned_prefix_is_a_copy(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, 8)
    store.add(keys("a"), vectors(0, 1))
    store.prefixes(keys("a"), 8)[:] = 0
    np.testing.assert_array_equal(store.prefixes(keys("a"), 8), vectors(0, 1))


def test_role_prompt_and_text_make_the_key() -> None:
    made = {
        text_key("", None, "a"),
        text_key("", "", "a"),
        text_key("query", None, "a"),
        text_key("document", None, "a"),
        text_key("query", "p", "a"),
        text_key("query", "", "pa"),
        text_key("", None, "b"),
    }
    assert len(made) == 7


def test_a_file_cut_short_is_as_if_it_had_never_been(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, 8)
    store.add(keys("a"), vectors(0, 1))
    store.add(keys("b"), vectors(1, 1))
    cut = sorted(tmp_path.glob("*.safetensors"))[0]
    cut.write_bytes(cut.read_bytes()[:-7])
    (tmp_path / ".x.safetensors.1.part").write_bytes(b"half a file")
    opened = VectorStore(tmp_path, 8)
    assert len(opened) == 1
    assert not cut.exists()
    left, seed = ("a", 0) if keys("a")[0] in opened else ("b", 1)
    np.testing.assert_array_equal(opened.prefixes(keys(left), 8), vectors(seed, 1))


def test_vectors_of_another_width_are_not_used(tmp_path: Path) -> None:
    VectorStore(tmp_path, 8).add(keys("a"), vectors(0, 1))
    assert len(VectorStore(tmp_path, 16)) == 0


def test_an_unknown_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        VectorStore(tmp_path, 8).prefixes(keys("a"), 8)


def test_vectors_that_changed_on_disk_are_as_if_they_had_never_been(tmp_path: Path) -> None:
    VectorStore(tmp_path, 8).add(keys("a"), vectors(0, 1))
    (shard,) = tmp_path.glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(bytes(content))
    assert len(VectorStore(tmp_path, 8)) == 0
    assert not shard.exists()


def test_vectors_of_another_shape_are_refused(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, 8)
    with pytest.raises(EvaluationError, match=r"vectors of shape \(1, 16\) for 1 texts, .* says width 8"):
        store.add(keys("a"), vectors(0, 1, width=16))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EMFILE])
def test_a_shard_that_cannot_be_read_just_now_is_never_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    VectorStore(tmp_path, 8).add(keys("a"), vectors(0, 1))
    (shard,) = tmp_path.glob("*.safetensors")
    original = Path.open

    def failing(self: Path, *rest: Any, **settings: Any) -> Any:
        if self == shard:
            raise OSError(number, os.strerror(number), str(self))
        return original(self, *rest, **settings)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(RunError, match=r"cannot be read \(.*\); nothing was removed\. Mend the disk"):
        VectorStore(tmp_path, 8)
    monkeypatch.undo()
    np.testing.assert_array_equal(VectorStore(tmp_path, 8).prefixes(keys("a"), 8), vectors(0, 1))


def test_a_shard_that_another_program_removed_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    assert len(VectorStore(tmp_path, 8)) == 0


@pytest.mark.parametrize("content", [b"", b"1234", b"\xff" * 40, b"not a shard at all, but long enough to be read"])
def test_what_is_no_shard_is_removed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    assert len(VectorStore(tmp_path, 8)) == 0
    assert list(tmp_path.iterdir()) == []
