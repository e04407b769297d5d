"""Checkpoints of a run: whole or absent, safetensors and JSON only, so that opening one runs no code."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from matryoshka_text.errors import RunError
from matryoshka_text.files import require_space, whole_folder, write_whole

__all__ = [
    "Checkpoint",
    "latest_checkpoint",
    "load_weights",
    "prune",
    "read_average",
    "read_checkpoint",
    "save_checkpoint",
    "save_weights",
]

_NAME = "step-{:08d}"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk: its folder and the progress it stands for."""

    path: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps taken when it was written."""
        return int(self.state["step"])


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    average: Mapping[str, Tensor] | None = None,
) -> Path:
    """`folder`/step-N with the weights, the optimizer's state, the running `average` of weights where there is one,
    and `state` (its "step" is N), whole or absent.
    """
    weights, moments = _tensors(model), _optimizer_tensors(optimizer)
    averaged = {name: tensor.detach().cpu().contiguous() for name, tensor in (average or {}).items()}
    size = sum(t.numel() * t.element_size() for t in (*weights.values(), *moments.values(), *averaged.values()))
    path = folder / _NAME.format(state["step"])
    require_space(folder, int(size * 1.05) + 1_000_000, what=f"the checkpoint of step {state['step']}")
    with whole_folder(path) as beside:
        save_file(weights, beside / "weights.safetensors")
        save_file(moments, beside / "optimizer.safetensors")
        if averaged:
            save_file(averaged, beside / "average.safetensors")
        write_whole(beside / "state.json", json.dumps(state, indent=2) + "\n")
    return path


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint in `folder`; None where there is none."""
    found = sorted(folder.glob("step-*/state.json"))
    if not found:
        return None
    try:
        state = json.loads(found[-1].read_text())
        return Checkpoint(found[-1].parent, {**state, "step": int(state["step"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(found[-1], error) from error


def read_checkpoint(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the checkpoint's weights into `model` and its moments into `optimizer`, bit for bit."""
    load_weights(checkpoint.path / "weights.safetensors", model)
    stored = _opened(checkpoint.path / "optimizer.safetensors")
    state = optimizer.state_dict()
    state["state"] = {}
    for name, tensor in stored.items():
        index, _, key = name.partition(".")
        state["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(state)


def read_average(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The running average of weights that the checkpoint holds, by parameter."""
    return _opened(checkpoint.path / "average.safetensors")


def save_weights(path: Path, model: nn.Module, state: dict[str, Any]) -> None:
    """A folder with the weights alone and `state`, whole or absent."""
    weights = _tensors(model)
    size = sum(t.numel() * t.element_size() for t in weights.values())
    require_space(path.parent, int(size * 1.05) + 1_000_000, what="the best weights")
    with whole_folder(path) as beside:
        save_file(weights, beside / "weights.safetensors")
        write_whole(beside / "state.json", json.dumps(state, indent=2) + "\n")


def load_weights(path: Path, model: nn.Module) -> None:
    """Put the weights of a file into `model`; `RunError` where they are another model's."""
    stored = _opened(path)
    try:
        missing, unexpected = model.load_state_dict(stored, strict=False)
    except RuntimeError as error:
        raise RunError(f"{path}: holds the weights of another model: {error}") from error
    tied = set(missing) - _repeated(model)
    if tied or unexpected:
        raise RunError(f"{path}: holds the weights of another model (lacks {sorted(tied)[:3]}, has {unexpected[:3]})")


def _opened(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(
        f"{path}: is damaged ({type(error).__name__}: {error}); remove the folder {path.parent} and resume again, "
        "from the checkpoint before it"
    )


def prune(folder: Path, keep: int) -> None:
    """Remove all but the `keep` newest checkpoints, and what a kill left half written."""
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    for part in folder.glob(".step-*.part"):
        shutil.rmtree(part, ignore_errors=True)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    repeated = _repeated(model)
    return {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items() if k not in repeated}


def _repeated(model: nn.Module) -> set[str]:
    """Names that share their tensor with an earlier name: safetensors refuses to write a tensor twice."""
    seen: set[int] = set()
    names = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            names.add(name)
        seen.add(id(tensor))
    return names


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    # The parameters are numbered in the order they were given, which the model fixes; AdamW keeps tensors only.
    return {
        f"{index}.{key}": tensor.detach().cpu().contiguous()
        for index, entry in optimizer.state_dict()["state"].items()
        for key, tensor in entry.items()
    }
