"""The files in which the items of a row are kept."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.scoring.items import Items, Part, items_path, read_items, write_items
from matryoshka_text.rows import Row


def row(**changes: Any) -> Row:
    return Row(
        **{
            "model": "org/name", "weights": "a" * 64, "origin": "folder", "task": "own/Task", "type": "STS",
            "split": "test", "metric": "cosine_spearman", "dim": 8, "width": 32, "bytes_per_vector": 32, "score": 50.0,
            "normalize": True, "versions": {}, "data": "x", "date": datetime(2026, 1, 1, tzinfo=UTC), **changes,
        }
    )  # fmt: skip


def test_each_row_has_a_file_of_its_own(tmp_path: Path) -> None:
    one = items_path(tmp_path, row())
    assert one.parent == tmp_path / "items/org__name" / ("a" * 12)
    assert one.name.startswith("own__Task.test.") and one.suffix == ".safetensors"
    others = (
        {"dim": 16}, {"method": "random", "seed": 1}, {"method": "random", "seed": 2}, {"precision": "int8"},
        {"layers": 2}, {"normalize": False}, {"data": "y"}, {"sample": "b" * 64}, {"split": "validation"},
    )  # fmt: skip
    assert len({items_path(tmp_path, row(**changes)) for changes in others} | {one}) == len(others) + 1
    assert items_path(tmp_path, row(score=1.0, settings="other")) == one


def test_the_score_of_each_kind() -> None:
    rng = np.random.default_rng(0)
    values, gold = rng.normal(size=(3, 20)), (rng.random(20) < 0.4).astype(float)
    rank = Part("spearman", values[:1], "0" * 64, gold)
    best = Part("precision", values, "0" * 64, gold)
    mean = Part("mean", values[:1], "0" * 64, digits=2)
    assert rank.score() == pytest.approx(spearmanr(values[0], gold).statistic)
    assert best.score() == max(average_precision_score(gold, row) for row in values)
    assert mean.score() == round(float(values[0].mean()), 2)
    assert Items((rank, best, mean)).score() == pytest.approx((rank.score() + best.score() + mean.score()) / 3)


def items(kind: Any = "spearman", **rest: Any) -> Items:
    gold = np.array([1.0, 2.0, 3.0])
    return Items((Part(kind, np.array([[0.1, 1 / 3, 0.2]]), "0" * 64, gold, **rest),))


def test_no_digit_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "items.safetensors"
    near = np.array([[1.0, 1.0 + 2**-52, 1.0 - 2**-53]])
    write_items(path, Items((Part("spearman", near, "0" * 64, np.arange(3.0)), Part("mean", near, "1" * 64, digits=5))))
    again = read_items(path)
    assert again is not None
    assert [one.values.tolist() for one in again.parts] == [near.tolist()] * 2
    assert [(one.kind, one.identity, one.digits) for one in again.parts] == [
        ("spearman", "0" * 64, None), ("mean", "1" * 64, 5)
    ]  # fmt: skip
    assert again.parts[1].gold is None
    assert [file.name for file in path.parent.iterdir()] == ["items.safetensors"]


def test_no_file_is_none(tmp_path: Path) -> None:
    assert read_items(tmp_path / "items.safetensors") is None


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.safetensors"
    for damage in (b"", b"not one", b"\x08\0\0\0\0\0\0\0{}      "):
        path.write_bytes(damage)
        with pytest.raises(DataError, match=r"items\.safetensors: holds no items .* remove the file"):
            read_items(path)
    save_file({"0.values": np.zeros((1, 3))}, path)
    with pytest.raises(DataError, match="its format is None"):
        read_items(path)
    write_items(path, items())
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="holds no items"):
        read_items(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"0.values": np.zeros((1, 3))},
        {"0.values": np.zeros((1, 3)), "0.gold": np.zeros(2)},
        {"0.values": np.zeros((1, 3), dtype=np.float32), "0.gold": np.zeros(3)},
        {"0.values": np.zeros(3), "0.gold": np.zeros(3)},
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path / "items.safetensors"
    about = '[{"kind": "spearman", "identity": "00", "digits": null}]'
    save_file(tensors, path, {"format": "matryoshka-text items 1", "parts": about})
    with pytest.raises(DataError, match="holds no items"):
        read_items(path)
