"""`mtext train` as a user meets it: what it prints, and what bad input gets."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from matryoshka_text.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mtext(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The command line with the words given: exit status, stdout, stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mtext", *words])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path) -> Callable[..., str]:
    def write(**changes: object) -> str:
        rows = [{"anchor": f"the house {i}", "positive": f"a house with number {i}"} for i in range(40)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        values = {
            "name": "tiny",
            "base": {"model": str(tiny_model)},
            "dims": [4, 32],
            "data": [{"name": "rows", "file": "rows.jsonl", "kind": "pairs"}],
            "objectives": [{"kind": "info_nce"}],
            "batch": {"size": 8},
            "stopping": {"steps": 2},
        } | changes
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
        return str(tmp_path / "tiny.yaml")

    return write


def test_a_run_says_where_the_model_is(mtext: Run, recipe: Callable[..., str], tmp_path: Path) -> None:
    status, out, err = mtext("train", recipe(), "--out", str(tmp_path / "run"))
    assert status == 0
    assert "trained 2 steps" in out
    assert f"model   {tmp_path / 'run' / 'model'}" in out
    assert "loss at 4 dims" in err
    assert "at 32" in err


def test_the_folder_is_named_after_recipe_and_hash(
    mtext: Run, recipe: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matryoshka_text import load_recipe

    path = recipe()
    monkeypatch.chdir(tmp_path)
    assert mtext("train", path, "--dry-run")[1].startswith(f"run      runs/tiny-{load_recipe(path).hash8}\n")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"colour": "red"}, ["tiny.yaml:", "colour"]),
        ({"dims": [32, 4]}, ["dims[1]", "4", "increasing"]),
        ({"dims": [4, 64]}, ["dims[1]", "64", "width 32"]),
        ({"weights": [1.0]}, ["weights"]),
        ({"batch": {"size": 41}}, ["batch.size: found 41", "40"]),
        ({"data": [{"name": "rows", "file": "gone.jsonl", "kind": "pairs"}]}, ["gone.jsonl", "rows.jsonl"]),
        ({"base": {"model": "nobody/nothing"}}, ["nobody/nothing", "Tried", "hub cache", "Way out"]),
        ({"stopping": {"steps": 1, "epochs": 1}}, ["stopping", "exactly one"]),
    ],
)
def test_bad_input_gets_place_and_way_out_and_status_2(
    mtext: Run, recipe: Callable[..., str], tmp_path: Path, changes: dict[str, object], expected: list[str]
) -> None:
    status, out, err = mtext("train", recipe(**changes), "--out", str(tmp_path / "run"))
    assert status == 2
    assert out == ""
    assert err.startswith("error: ") or "\nerror: " in err
    assert "Traceback" not in err
    for part in expected:
        assert part in err
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_not_there(mtext: Run, tmp_path: Path) -> None:
    status, _, err = mtext("train", str(tmp_path / "none.yaml"))
    assert status == 2
    assert "none.yaml" in err


def test_a_place_that_cannot_be_written_is_named(mtext: Run, recipe: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    status, _, err = mtext("train", recipe(), "--out", str(tmp_path / "file" / "run"))
    assert status == 2
    assert str(tmp_path / "file") in err
    assert "Traceback" not in err
