"""What a recipe would do, and where a run stands."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from safetensors import SafetensorError, safe_open
from sentence_transformers.util import get_device_name

from matryoshka_text.build.check import inspect_recipe
from matryoshka_text.checkpoint import Checkpoint, latest_checkpoint
from matryoshka_text.doctor.line import Line, look
from matryoshka_text.doctor.model import model_lines
from matryoshka_text.errors import RunError
from matryoshka_text.recipe import load_recipe
from matryoshka_text.training import train
from matryoshka_text.training.environment import PACKAGES, differences
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.versions import surroundings

__all__ = ["recipe_lines", "run_lines"]


def recipe_lines(path: Path) -> Iterator[Line]:
    """What `mtext check` finds, then what a dry run says if everything it needs is on this machine."""
    findings = inspect_recipe(path)
    yield from (Line("recipe", problem, wrong=True) for problem in findings.problems)
    yield from (Line("recipe", note) for note in findings.notes)
    if findings.problems:
        return
    yield Line("recipe", f"{path}: `mtext check` finds nothing wrong")
    if findings.notes:
        yield Line("dry run", "left out, since it might fetch what is not on this machine")
        return
    part = "dry run"
    for line in train(path, dry_run=True).summary.splitlines():
        # A line without a name goes on with what the line before it is about.
        name, _, text = line.partition(" ")
        part = name or part
        yield Line(part, text.strip())


def run_lines(path: Path, *, trust_remote_code: bool = False) -> Iterator[Line]:
    """Whose run it is, its last step and checkpoint, who holds it, what has changed since, and its model."""
    folder = RunFolder(path)
    yield from look("run", lambda: _state(folder))
    yield from look("lock", lambda: _lock(folder))
    yield from look("checkpoint", lambda: _checkpoint(folder))
    yield from look("changed", lambda: _changed(folder))
    yield from look("left over", lambda: _left_over(folder))
    yield from look("twins", lambda: _twins(folder))
    if folder.finished:
        yield from look("model", lambda: model_lines(str(folder.model), trust_remote_code=trust_remote_code))


def _state(folder: RunFolder) -> Iterator[Line]:
    recipe = load_recipe(folder.recipe)
    wanted = recipe.stopping.steps if recipe.stopping is not None else None
    if folder.finished:
        state = "ended, its model is in model/"
    elif _holder(folder) is not None:
        state = "running"
    else:
        state = f"stopped before its end; go on with: mtext train {folder.recipe} --resume"
    step = _last_step(folder)
    told = "" if step is None else f", last step {step}" + ("" if wanted is None else f" of {wanted}")
    yield Line("run", f"{folder.path}: {recipe.name} ({recipe.hash8}){told}; {state}")


def _last_step(folder: RunFolder) -> int | None:
    """The last step that metrics.jsonl tells of; None if it tells of none."""
    if not folder.metrics.is_file():
        return None
    lines = folder.metrics.read_text(encoding="utf-8").split("\n")[:-1]
    return max((int(json.loads(line)["step"]) for line in lines), default=None)


def _lock(folder: RunFolder) -> Iterator[Line]:
    held = _holder(folder)
    yield Line("lock", "held by no process" if held is None else f"held by {held}")


def _holder(folder: RunFolder) -> str | None:
    """The process that holds the run, read from the kernel's list: to try the lock would be to take it."""
    lock, locks = folder.path / ".lock", Path("/proc/locks")
    if not lock.exists() or not locks.is_file():
        return None
    inode = str(lock.stat().st_ino)
    for words in map(str.split, locks.read_text().splitlines()):
        # 1: FLOCK ADVISORY WRITE pid major:minor:inode start end; "->" marks one that waits.
        if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
            return f"process {words[4]}{_name_of(int(words[4]))}"
    return None


def _name_of(process: int) -> str:
    try:
        return f" ({psutil.Process(process).name()})"
    except psutil.Error:
        return ""


def _checkpoint(folder: RunFolder) -> Iterator[Line]:
    found = latest_checkpoint(folder.checkpoints)
    if found is None:
        yield Line("checkpoint", "none yet: a resumed run begins with step 0")
        return
    kept = len(list(folder.checkpoints.glob("step-*")))
    size = sum(file.stat().st_size for file in found.path.iterdir())
    yield Line("checkpoint", f"step {found.progress.step}, {size / 1e6:,.1f} MB, {kept} kept")
    yield from _damaged(found)


def _damaged(checkpoint: Checkpoint) -> Iterator[Line]:
    for name in ("weights", "optimizer"):
        file = checkpoint.path / f"{name}.safetensors"
        try:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        except (OSError, SafetensorError) as error:
            way = f"remove the folder {checkpoint.path} and resume again, from the checkpoint before it"
            yield Line("checkpoint", f"{file}: is damaged ({error}); {way}", wrong=True)


def _changed(folder: RunFolder) -> Iterator[Line]:
    try:
        stored = json.loads(folder.environment.read_text(encoding="utf-8"))
        now = {**stored, **surroundings(torch.device(get_device_name()), PACKAGES)}
        changed = differences(stored, now)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"{folder.environment}: cannot be read ({type(error).__name__}: {error}); put it back, or start again with "
            "another --out"
        ) from error
    yield Line("changed", "; ".join(changed) or "nothing: this machine is as the run began")


def _left_over(folder: RunFolder) -> Iterator[Line]:
    parts = [file for file in folder.path.rglob(".*.part") if os.path.lexists(file)]
    if parts and _holder(folder) is None:
        yield Line("left over", f"{len(parts)} half-written files of a run that was killed; --resume removes them")


def _twins(folder: RunFolder) -> Iterator[Line]:
    twins = [RunFolder(one) for one in sorted(folder.twins.glob("*")) if one.is_dir()]
    if twins:
        told = (f"{one.path.name} {'ended' if one.finished else 'not ended'}" for one in twins)
        yield Line("twins", ", ".join(told))
