"""Indexes that were damaged, or replaced by another program meanwhile."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from matryoshka_text.errors import DataError, MtextError, RunError
from matryoshka_text.search import PrefixIndex
from matryoshka_text.search.record import writing
from matryoshka_text.search.structures import Key, Searchable


@pytest.fixture
def folder(vectors: np.ndarray, tmp_path: Path) -> Path:
    index = PrefixIndex.build(vectors[:200], out=tmp_path / "idx")
    index.tune(k=3)
    index.delete([7])
    return tmp_path / "idx"


def _record(folder: Path, **changes: Any) -> None:
    file = folder / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _replaced(folder: Path, name: str, make: Callable[[Path], object]) -> None:
    file = next(folder.glob(name))
    file.unlink()
    make(file)


def _documents(file: Path, table: pa.Table) -> None:
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": "64"}, "width"),
        ({"segments": {}}, "segments"),
        ({"segments": {"../other": 200}}, "segments"),
        ({"deleted": "/etc/passwd"}, "deleted"),
        ({"dims": [64, 8]}, "dims"),
        ({"dims": []}, "dims"),
        ({"kept": {"9": 0.5}}, "kept"),
        ({"structures": {"flat-64-float32": "../x.faiss"}}, "structures"),
        ({"plan": {"stages": [{"dim": 32}]}}, "plan ends at 32 dims"),
    ],
)
def test_a_record_of_no_index(folder: Path, changes: dict[str, Any], said: str) -> None:
    _record(folder, **changes)
    with pytest.raises(RunError, match=rf"index.json: cannot be read as the record of `mtext index` .*{said}"):
        PrefixIndex.open(folder)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("segment-*/vectors.npy", os.mkfifo),
        ("segment-*/vectors.npy", lambda file: np.save(file, np.zeros((200, 64), np.float64))),
        ("segment-*/documents.arrow", os.mkfifo),
        ("segment-*/documents.arrow", lambda file: _documents(file, pa.table({"x": list(range(200))}))),
        ("deleted-*.npy", lambda file: np.save(file, np.array([5, 900]))),
        ("deleted-*.npy", lambda file: np.save(file, np.array([0.5]))),
        ("index.json", os.mkfifo),
        ("rotation.safetensors", os.mkfifo),
    ],
)
def test_a_file_of_another_kind(folder: Path, name: str, make: Callable[[Path], object]) -> None:
    _replaced(folder, name, make)
    with pytest.raises(MtextError, match=str(folder)):
        PrefixIndex.open(folder)


def test_a_structure_of_another_kind(tmp_path: Path, vectors: np.ndarray) -> None:
    key, other = Key(16, "flat", "float32"), Key(32, "flat", "float32")
    for one in (key, other, Key(16, "flat", "int8")):
        Searchable.build(one, 200, lambda: [vectors[:200]]).save(tmp_path / f"{one}.faiss")
    assert len(Searchable.open(key, tmp_path / f"{key}.faiss", 200).search(vectors[:1], 5)[0]) == 5
    for name in ("flat-32-float32", "flat-16-int8"):
        with pytest.raises(RunError, match="no structure of the kind flat-16-float32"):
            Searchable.open(key, tmp_path / f"{name}.faiss", 200)


def test_an_index_that_was_built_anew_is_not_tuned_by_who_had_opened_the_old_one(
    folder: Path, vectors: np.ndarray
) -> None:
    old = PrefixIndex.build(vectors[:200], out=folder)
    PrefixIndex.build(vectors[200:400], out=folder)
    with pytest.raises(RunError, match="another program has changed this index"):
        old.tune(k=3)


def test_what_another_program_builds_here_is_left_to_it(tmp_path: Path, vectors: np.ndarray) -> None:
    with writing(tmp_path / "idx"), pytest.raises(RunError, match="another process is writing this index"):
        PrefixIndex.build(vectors[:200], out=tmp_path / "idx")
    PrefixIndex.build(vectors[:200], out=tmp_path / "idx")
    assert [entry.name for entry in tmp_path.iterdir()] == ["idx"]


def test_what_cannot_be_tuned_leaves_nothing(tmp_path: Path, vectors: np.ndarray) -> None:
    with pytest.raises(DataError, match="k: found 10"):
        PrefixIndex.build(vectors[:5], out=tmp_path / "idx", then=lambda made: made.tune())
    assert not list(tmp_path.iterdir())


def test_out_may_be_the_folder_one_stands_in(
    tmp_path: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    PrefixIndex.build(vectors[:50], out=".")
    assert len(PrefixIndex.open(tmp_path / "here")) == 50
