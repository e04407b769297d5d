"""Two real processes (gloo) against one: the same losses and gradients, step by step, and the same after a break.

This file is also a program: `accelerate launch test_processes.py RECIPE RUN …` notes what each process does in a run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.killing import kill_when

Write = Callable[..., Path]
Still = Callable[[Path, Path], Path]
_REPO = str(Path(__file__).parents[2])
_PATHS = os.pathsep.join([_REPO, *filter(None, [os.environ.get("PYTHONPATH")])])
ENV = {**os.environ, "PYTHONPATH": _PATHS, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}


def _command(processes: int, *program: object) -> list[str]:
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes)]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    # --multi_gpu means torch's elastic launcher; without a GPU in sight the processes talk through gloo.
    launcher += ["--multi_gpu"] if processes > 1 else []
    return [*launcher, *map(str, program)]


def _done(processes: int, *program: object) -> None:
    done = subprocess.run(_command(processes, *program), env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def _lines(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    # A line that is being written is no line yet.
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def _launch(recipe: Path, run: Path, processes: int, *more: str) -> list[dict[str, Any]]:
    _done(processes, "-m", "matryoshka_text", "train", recipe, "--out", run, *more)
    return _lines(run)


@pytest.mark.slow
@pytest.mark.parametrize(("cached", "accumulate"), [(False, 1), (True, 2)])
def test_two_processes_follow_one(
    write_recipe: Write,
    tiny_model: Path,
    rows_file: Path,
    still: Still,
    tmp_path: Path,
    cached: bool,
    accumulate: int,
) -> None:
    source = {"name": "rows", "file": str(rows_file), "kind": "triplets", "columns": {"negatives": ["negative"]}}
    recipe = write_recipe(
        base={"model": str(still(tiny_model, tmp_path / "still"))},
        data=[source],
        objectives=[{"kind": "info_nce"}, {"kind": "distill"}],
        batch={"size": 16, "max_length": 24, "chunk": 5, "gradient_caching": cached, "accumulate": accumulate},
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


class Notes:
    """What this process does in a run: its gradients before each update, and what it gathers from the others."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, torch.Tensor]] = []
        self.gathers: list[list[int]] = []
        self._gathered: list[int] = []
        register_optimizer_step_pre_hook(self._before_update)
        for name in ("all_gather", "all_gather_into_tensor"):
            setattr(torch.distributed, name, self._noted(getattr(torch.distributed, name)))

    def _noted(self, gather: Callable[..., Any]) -> Callable[..., Any]:
        def noted(output: Any, own: torch.Tensor, *more: Any, **settings: Any) -> Any:
            self._gathered.append(own.numel())
            return gather(output, own, *more, **settings)

        return noted

    def _before_update(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        found = {str(i): p.grad.clone() for i, p in enumerate(parameters) if p.grad is not None}
        self.gradients.append(found)
        self.gathers.append(self._gathered)
        self._gathered = []

    def write(self, path: Path) -> None:
        """The notes as a file, and a new page."""
        steps = {f"{step}.{name}": value for step, row in enumerate(self.gradients) for name, value in row.items()}
        save_file(steps, path, {"gathers": json.dumps(self.gathers)})
        self.gradients, self.gathers = [], []


def _noted_runs(arguments: list[str]) -> None:
    from matryoshka_text import train

    notes = Notes()
    for recipe, run in zip(arguments[::2], arguments[1::2], strict=True):
        train(recipe, out=run)
        notes.write(Path(run) / f"notes-{os.environ.get('RANK', '0')}.safetensors")


def _notes(run: Path, rank: int) -> tuple[dict[str, torch.Tensor], list[list[int]]]:
    from safetensors import safe_open

    path = run / f"notes-{rank}.safetensors"
    with safe_open(path, "pt") as file:
        return load_file(path), json.loads(file.metadata()["gathers"])


@pytest.mark.slow
def test_every_process_has_the_gradient_of_one_and_gathers_once(
    write_recipe: Write, everything: dict[str, Any], rows_file: Path, tiny_model: Path, still: Still, tmp_path: Path
) -> None:
    """With gradient caching and accumulation, for every stream and objective, layers and learned factors among them."""
    base = {"model": str(still(tiny_model, tmp_path / "still"))}
    # No clipping, and weights that stay where they are: each step's gradient is the loss's own.
    optimizer = {"learning_rate": 1e-6, "head_learning_rate": 1e-6, "max_grad_norm": 1e9}
    common = {"base": base, "optimizer": optimizer, "stopping": {"steps": 2}}
    batch = {"max_length": 24, "chunk": 5, "gradient_caching": True, "accumulate": 2}
    triplets = {"name": "rows", "file": str(rows_file), "kind": "triplets", "columns": {"negatives": ["negative"]}}
    recipes = {
        "triplets": write_recipe(
            "triplets.yaml",
            data=[triplets],
            objectives=[{"kind": "info_nce"}, {"kind": "distill"}],
            batch=batch | {"size": 16},
            **common,
        ),
        "everything": write_recipe("everything.yaml", **everything | common | {"batch": batch | {"size": 8}}),
    }
    # Elements that one process hands to the others: its texts x layers x full width, for each of two batches. The
    # triplets' teacher embeds its own texts; pairs, labelled and scored pairs are three streams, text is none.
    gathers = {"triplets": [8 * 3 * 32] * 4, "everything": [4 * 2 * 2 * 32] * 2 + [4 * 32] * 2 + [4 * 2 * 2 * 32] * 2}
    for count in (1, 2):
        runs = [str(part) for name, path in recipes.items() for part in (path, tmp_path / f"{name}-{count}")]
        _done(count, __file__, *runs)
    for name in recipes:
        expected, _ = _notes(tmp_path / f"{name}-1", 0)
        for rank in (0, 1):
            found, gathered = _notes(tmp_path / f"{name}-2", rank)
            assert found.keys() == expected.keys() and len(found) > 40
            for step in ("0.", "1."):
                keys = [key for key in expected if key.startswith(step)]
                whole = torch.stack([expected[key].norm() for key in keys]).norm()
                for key in keys:
                    size = max(expected[key].norm(), whole / 100)
                    assert (found[key] - expected[key]).norm() <= 2e-5 * size, (name, rank, key)
            assert [sorted(step) for step in gathered] == [sorted(gathers[name])] * 2, (name, rank)


def _kill_when(reached: Callable[[], bool], *program: object) -> None:
    """Start two processes, and end them and their launcher with SIGKILL once `reached`."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    kill_when(subprocess.Popen(_command(2, *program), env=ENV, **silent), reached)


@pytest.mark.slow
def test_two_processes_killed_and_resumed_end_in_the_same_bits(
    write_recipe: Write, everything: dict[str, Any], tmp_path: Path
) -> None:
    batch = {"size": 8, "max_length": 16, "chunk": 3, "gradient_caching": True, "accumulate": 2}
    recipe = write_recipe(**everything | {"batch": batch, "stopping": {"steps": 16}, "checkpoints": {"every": 4}})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _launch(recipe, whole, 2)
    _kill_when(lambda: len(_lines(broken)) >= 6, "-m", "matryoshka_text", "train", recipe, "--out", broken)
    assert [path.name for path in (broken / "checkpoints").glob("step-*")] == ["step-00000004"]
    assert not (broken / "model").exists()
    _launch(recipe, broken, 2, "--resume")
    for part in ("model", "model/heads/mlm", "model/heads/classifier"):
        a, b = (load_file(run / part / "model.safetensors") for run in (whole, broken))
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    for kept, again in zip(_lines(whole), _lines(broken), strict=True):
        assert {k: v for k, v in kept.items() if not k.endswith("per_second")} == {
            k: v for k, v in again.items() if not k.endswith("per_second")
        }


if __name__ == "__main__":
    _noted_runs(sys.argv[1:])


@pytest.mark.slow
def test_two_processes_share_the_rotation_that_one_learned(
    write_recipe: Write, tiny_model: Path, still: Still, tmp_path: Path
) -> None:
    recipe = write_recipe(
        base={"model": str(still(tiny_model, tmp_path / "still"))},
        rotation={"steps": 20, "anchors": 16, "check_every": 10},
        objectives=[{"kind": "distill", "vector_weight": 5.0}],
        averaging={"start": 0.5},
        optimizer={"learning_rate": 1e-4},
        stopping={"steps": 6},
    )
    one = _launch(recipe, tmp_path / "one", 1)
    two = _launch(recipe, tmp_path / "two", 2)
    assert len(one) == len(two) == 20 + 4 + 6
    assert one[:24] == two[:24]
    for first, second in zip(one[24:], two[24:], strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
