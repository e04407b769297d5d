"""Paired intervals written beside committed rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from matryoshka_text.evaluation.scoring.bootstrap import difference
from matryoshka_text.evaluation.scoring.items import Items, Part, items_path, write_items
from matryoshka_text.rows import Row, append_rows
from tools.pages.baselines import render_baselines
from tools.pages.differences import Difference, main
from tools.pages.folder import read_folder

BASE, ONE, TWO = "a" * 64, "b" * 64, "c" * 64
ABOUT: dict[str, Any] = {
    "title": "Side by side",
    "commit": "0123456789abcdef",
    "command": "mtext eval",
    "note": "A note.",
    "columns": [{"label": "untouched", "weights": [BASE]}, {"label": "trained", "weights": [ONE, TWO]}],
}


def items(scale: float, seed: int, n: int) -> Items:
    gold = np.arange(n) % 7.0
    values = gold + scale * np.random.default_rng(seed).normal(size=n)
    return Items((Part("spearman", values[None, :], f"{n:064x}", gold),))


def row(weights: str, task: str, found: Items) -> Row:
    return Row.model_validate_json(
        f'{{"model": "org/name", "weights": "{weights}", "origin": "folder", "task": "{task}", "type": "STS", '
        f'"split": "test", "metric": "cosine_spearman", "dim": 4, "width": 8, "bytes_per_vector": 16, '
        f'"score": {100 * found.score()!r}, "normalize": true, "versions": {{}}, "data": "x", '
        '"date": "2026-01-01T00:00:00Z"}'
    )


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, list[Path], dict[tuple[str, str], Items]]:
    """The committed folder, the folders of two evaluations (one model of each), and the items."""
    folder, outs = tmp_path / "results" / "side", [tmp_path / "out-1", tmp_path / "out-2"]
    folder.mkdir(parents=True)
    (folder / "baselines.yaml").write_text(yaml.safe_dump(ABOUT))
    found = {}
    for task, n in (("one", 60), ("two", 80)):
        for seed, (weights, scale) in enumerate(((BASE, 3.0), (ONE, 1.0), (TWO, 1.2))):
            found[task, weights] = items(scale, seed, n)
            one = row(weights, task, found[task, weights])
            append_rows(folder / "rows.jsonl", [one])
            write_items(items_path(outs[weights == BASE], one), found[task, weights])
    return folder, outs, found


def test_every_table_has_its_paired_intervals(
    made: tuple[Path, list[Path], dict[tuple[str, str], Items]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, outs, found = made
    assert "bold" not in render_baselines(read_folder(folder))
    assert main([str(folder), *map(str, outs), "--seed", "3", "--rounds", "200"]) == 0
    lines = (folder / "differences.jsonl").read_text().splitlines()
    kept = {one.table: one for one in map(Difference.model_validate_json, lines)}
    assert set(kept) == {"All 2 tasks", "one", "two"}
    expected = difference([found["one", ONE], found["one", TWO]], found["one", BASE], seed=3, rounds=200)
    assert (kept["one"].low, kept["one"].high) == pytest.approx(expected)
    assert kept["one"].real and kept["one"].low < kept["one"].difference < kept["one"].high
    assert capsys.readouterr().out == f"{folder / 'differences.jsonl'}: 3 differences, 3 of them real\n"
    assert f"| **{kept['one'].difference:+.2f}** |" in render_baselines(read_folder(folder))


def test_without_items_there_is_nothing_to_say(
    made: tuple[Path, list[Path], dict[tuple[str, str], Items]], tmp_path: Path
) -> None:
    folder, outs, _ = made
    assert main([str(folder), str(outs[0])]) == 0
    assert (folder / "differences.jsonl").read_text() == ""
    assert "bold" not in render_baselines(read_folder(folder))


def test_a_damaged_description_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "baselines.yaml").write_text("title: x\n")
    assert main([str(tmp_path), str(tmp_path)]) == 2
    assert "baselines.yaml: cannot be read" in capsys.readouterr().err


def test_an_interval_that_touches_nothing_is_not_real() -> None:
    def real(low: float, high: float) -> bool:
        return Difference(table="x", dim=4, column="y", difference=0.1, low=low, high=high).real

    assert (real(-1, 1), real(0, 1), real(0.1, 1), real(-1, -0.1)) == (False, False, True, True)
