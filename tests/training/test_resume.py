"""`mtext train` as a process, killed at awkward moments and resumed: the same bits as without the break."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

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
    process = subprocess.Popen(
        _command(recipe, run, *more), env=_env(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not reached():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _lines(run: Path) -> int:
    return (run / "metrics.jsonl").read_bytes().count(b"\n") if (run / "metrics.jsonl").exists() else 0


def _losses(run: Path) -> list[dict[str, Any]]:
    keep = ("step", "loss", "per_dim", "learning_rate", "gradient_norm", "evaluation", "score")
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
