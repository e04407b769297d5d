"""`mtext train` as a process, killed at awkward moments and resumed: the same bits as without the break."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.killing import kill_when

Write = Callable[..., Path]
LONG = {
    "stopping": {"steps": 30},
    "checkpoints": {"every": 7, "keep": 2},
    "objectives": [{"kind": "info_nce"}, {"kind": "distill"}],
}


def _command(recipe: Path, run: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "matryoshka_text", "train", str(recipe), "--out", str(run), *more]


def _env() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def _train(recipe: Path, run: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(recipe, run, *more), env=_env(), capture_output=True, text=True)


def _kill_when(recipe: Path, run: Path, reached: Callable[[], bool], *more: str) -> None:
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    kill_when(subprocess.Popen(_command(recipe, run, *more), env=_env(), **silent), reached)


def _lines(run: Path) -> int:
    return (run / "metrics.jsonl").read_bytes().count(b"\n") if (run / "metrics.jsonl").exists() else 0


def _losses(run: Path) -> list[dict[str, Any]]:
    keep = (
        "step",
        "rotation_step",
        "source",
        "kept",
        "loss",
        "per_dim",
        "learning_rate",
        "gradient_norm",
        "evaluation",
        "score",
    )
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: row[k] for k in keep if k in row} for row in rows]


def _assert_same(first: Path, second: Path) -> None:
    a, b = (load_file(run / "model" / "model.safetensors") for run in (first, second))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert _losses(first) == _losses(second)


@pytest.fixture
def recipe(write_recipe: Write, rows_file: Path) -> Path:
    held_out = {"name": "found", "file": str(rows_file), "kind": "pairs", "rows": 30}
    return write_recipe(**LONG, evaluation={"every": 5, "data": [held_out]})


@pytest.mark.slow
def test_killed_twice_and_resumed_it_ends_in_the_same_bits(recipe: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert _train(recipe, whole).returncode == 0
    # Before the first checkpoint: nothing to go back to but step 0.
    _kill_when(recipe, broken, lambda: _lines(broken) >= 3)
    assert not list((broken / "checkpoints").glob("step-*"))
    # In the middle, some steps after a checkpoint, with a best/ that is newer than it.
    _kill_when(recipe, broken, lambda: _lines(broken) >= 20, "--resume")
    assert list((broken / "checkpoints").glob("step-*"))
    assert not (broken / "model").exists()
    refused = _train(recipe, broken)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    resumed = _train(recipe, broken, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    _assert_same(whole, broken)
    assert not list(broken.rglob("*.part"))
    # And once it has ended, --resume changes nothing.
    again = _train(recipe, broken, "--resume")
    assert again.returncode == 0
    assert "has ended already" in again.stdout


@pytest.mark.slow
def test_another_thread_count_is_named(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _kill_when(recipe, run, lambda: bool(list((run / "checkpoints").glob("step-*/state.json"))))
    env = _env() | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(_command(recipe, run, "--resume"), env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "threads: 1 then, 2 now" in done.stderr


@pytest.mark.slow
def test_a_joint_run_goes_on_in_the_same_bits(write_recipe: Write, everything: dict[str, Any], tmp_path: Path) -> None:
    """Heads, learned factors, drawn layers, dims and streams: all as without the break."""
    changes = {"stopping": {"steps": 14}, "checkpoints": {"every": 4, "keep": 1}, "dims_per_step": "one_and_full"}
    shares = {"pairs": 1.0, "text": 1.0, "labelled": 1.0, "scored": 1.0}
    recipe = write_recipe(**everything | changes, stream_shares=shares)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert _train(recipe, whole).returncode == 0
    _kill_when(recipe, broken, lambda: _lines(broken) >= 6)
    done = _train(recipe, broken, "--resume")
    assert done.returncode == 0, done.stderr
    _assert_same(whole, broken)
    for head in ("mlm", "classifier"):
        a, b = (load_file(run / "model" / "heads" / head / "model.safetensors") for run in (whole, broken))
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


ROTATION = {"steps": 60, "warmup": 5, "check_every": 20, "anchors": 64}


def _stored(run: Path) -> int:
    return len(list((run / "rotation-vectors").rglob("*.safetensors")))


def _whole_model(run: Path) -> dict[str, torch.Tensor]:
    return {str(file.parent.name): load_file(file) for file in (run / "model").rglob("*.safetensors")}


def _assert_same_everywhere(first: Path, second: Path) -> None:
    _assert_same(first, second)
    a, b = _whole_model(first), _whole_model(second)
    assert a.keys() == b.keys() and len(a) == 2  # the backbone, and the Dense that holds the rotation
    assert all(torch.equal(a[part][name], b[part][name]) for part in a for name in a[part])


@pytest.mark.slow
def test_killed_while_encoding_fitting_and_training_it_ends_in_the_same_bits(
    write_recipe: Write, tmp_path: Path
) -> None:
    """800 texts are stored in two pieces; the rotation's lines stand in metrics.jsonl once, before the others."""
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"{a} {b} {c}\n" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz0123456789"))
    data = [{"name": "texts", "file": str(texts), "kind": "text"}]
    recipe = write_recipe(**LONG | {"rotation": ROTATION | {"data": data, "steps": 300}})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = _train(recipe, whole)
    assert done.returncode == 0, done.stderr
    assert "neighbours kept after the rotation" in done.stdout
    _kill_when(recipe, broken, lambda: _stored(broken) >= 1)
    assert 1 <= _stored(broken) < 4 and not (broken / "rotation.safetensors").exists()
    _kill_when(recipe, broken, lambda: _stored(broken) == 4, "--resume")
    assert _stored(broken) == 4 and not (broken / "rotation.safetensors").exists()
    _kill_when(recipe, broken, lambda: _lines(broken) >= 320, "--resume")
    assert not (broken / "rotation-vectors").exists()
    assert not (broken / "model").exists()
    resumed = _train(recipe, broken, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "neighbours kept after the rotation" in resumed.stdout
    _assert_same_everywhere(whole, broken)


@pytest.mark.slow
def test_a_rotated_run_killed_before_its_first_checkpoint_begins_again(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(**LONG | {"rotation": ROTATION})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert _train(recipe, whole).returncode == 0
    _kill_when(recipe, broken, lambda: any("step" in line for line in _losses_so_far(broken)))
    assert not list((broken / "checkpoints").glob("step-*"))
    resumed = _train(recipe, broken, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    _assert_same_everywhere(whole, broken)


def _losses_so_far(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().split("\n")[:-1] if (run / "metrics.jsonl").exists() else []
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_an_average_goes_on_in_the_same_bits(write_recipe: Write, rows_file: Path, tmp_path: Path) -> None:
    held_out = {"name": "found", "file": str(rows_file), "kind": "pairs", "rows": 30}
    averaging = {"start": 0.3, "every": 2, "base_share": 0.25}
    for name, evaluation in (("plain", None), ("scored", {"every": 5, "data": [held_out]})):
        recipe = write_recipe(**LONG | {"averaging": averaging, "evaluation": evaluation})
        whole, broken = tmp_path / f"whole-{name}", tmp_path / f"broken-{name}"
        assert _train(recipe, whole).returncode == 0
        _kill_when(recipe, broken, lambda broken=broken: _lines(broken) >= 20)
        resumed = _train(recipe, broken, "--resume")
        assert resumed.returncode == 0, resumed.stderr
        _assert_same(whole, broken)
