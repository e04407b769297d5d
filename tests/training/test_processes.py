"""Two real processes (gloo) against one: the same losses, step by step."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Write = Callable[..., Path]
Still = Callable[[Path, Path], Path]


def _launch(recipe: Path, run: Path, processes: int) -> list[dict[str, Any]]:
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes)]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    # --multi_gpu means torch's elastic launcher; without a GPU in sight the processes talk through gloo.
    launcher += ["--multi_gpu"] if processes > 1 else []
    command = [*launcher, "-m", "matryoshka_text", "train", str(recipe), "--out", str(run)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_two_processes_follow_one(
    write_recipe: Write, tiny_model: Path, rows_file: Path, still: Still, tmp_path: Path, cached: bool
) -> None:
    source = {"name": "rows", "file": str(rows_file), "kind": "triplets", "columns": {"negatives": ["negative"]}}
    recipe = write_recipe(
        base={"model": str(still(tiny_model, tmp_path / "still"))},
        data=[source],
        objectives=[{"kind": "info_nce"}, {"kind": "distill"}],
        batch={"size": 16, "max_length": 24, "chunk": 5, "gradient_caching": cached},
        optimizer={"learning_rate": 1e-4},
        stopping={"steps": 20},
        evaluation={"every": 10, "data": [{"name": "found", "file": str(rows_file), "kind": "pairs", "rows": 30}]},
    )
    one = _launch(recipe, tmp_path / "one", 1)
    two = _launch(recipe, tmp_path / "two", 2)
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2
    assert len(one) == len(two) == 20 + 3
    for first, second in zip(one, two, strict=True):
        assert first["step"] == second["step"]
        if "loss" not in first:
            continue
        assert abs(first["loss"] - second["loss"]) <= 1e-5 * max(1, abs(first["loss"]))
        for name in first["per_dim"]:
            a, b = (np.asarray(list(line["per_dim"][name].values())) for line in (first, second))
            np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)
    assert (tmp_path / "two" / "model" / "model.safetensors").exists()


@pytest.mark.slow
def test_two_processes_follow_one_on_every_stream(
    write_recipe: Write, everything: dict[str, Any], tiny_model: Path, still: Still, tmp_path: Path
) -> None:
    base = {"model": str(still(tiny_model, tmp_path / "still"))}
    recipe = write_recipe(**everything, base=base, optimizer={"learning_rate": 1e-4}, dims_per_step="one_and_full")
    one, two = (_launch(recipe, tmp_path / str(count), count) for count in (1, 2))
    assert len(one) == len(two) == 6
    for first, second in zip(one, two, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-5)
        for name, row in first["per_dim"].items():
            assert row == pytest.approx(second["per_dim"][name], rel=1e-5, abs=1e-5)
        for name, row in first["weights"].items():
            assert row == pytest.approx(second["weights"][name], rel=1e-5)


@pytest.mark.slow
def test_twins_are_trained_by_several_processes_too(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(stopping={"steps": 2}, twins=["plain"], trackers=["tensorboard"])
    assert len(_launch(recipe, tmp_path / "run", 2)) == 2
    assert (tmp_path / "run" / "twins" / "plain" / "model" / "model.safetensors").exists()


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_an_error_of_all_processes(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(batch={"size": 15, "max_length": 24})
    with pytest.raises(AssertionError, match=r"batch\.size is 15, which 2 processes cannot share evenly"):
        _launch(recipe, tmp_path / "run", 2)
    assert not (tmp_path / "run").exists()
