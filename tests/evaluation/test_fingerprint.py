"""What changes a hash, and what does not."""

import shutil
from pathlib import Path

from matryoshka_text.fingerprint import data_fingerprint, weights_hash


def test_a_model_is_its_weights_and_configuration(tiny_model: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(tiny_model, copied)
    (copied / "README.md").write_text("another card")
    (copied / "trainer_state.json").write_text("{}")
    same = weights_hash(tiny_model)
    assert len(same) == 64
    assert weights_hash(copied) == same
    pooling = next(copied.glob("*_Pooling/config.json"))
    pooling.write_text(pooling.read_text().replace("mean", "cls"))
    assert weights_hash(copied) != same


def test_two_models_differ(tiny_model: Path, other_model: Path) -> None:
    assert weights_hash(tiny_model) != weights_hash(other_model)


def test_data_are_content_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/test.jsonl").write_text("1")
    before = data_fingerprint(tmp_path / "a")
    (tmp_path / "a/.hidden").write_text("x")
    assert data_fingerprint(tmp_path / "a") == before
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert data_fingerprint(tmp_path / "b") == before
    (tmp_path / "a/test.jsonl").write_text("2")
    (tmp_path / "b/test.jsonl").rename(tmp_path / "b/train.jsonl")
    assert len({before, data_fingerprint(tmp_path / "a"), data_fingerprint(tmp_path / "b")}) == 3
