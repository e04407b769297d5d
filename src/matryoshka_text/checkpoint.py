"""Checkpoints of a run: whole or absent, safetensors and JSON only, so that opening one runs no code."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from matryoshka_text.errors import RunError, shown
from matryoshka_text.files import require_space, whole_folder, write_whole
from matryoshka_text.records import read_record, write_record

__all__ = [
    "Checkpoint",
    "Progress",
    "latest_checkpoint",
    "load_weights",
    "prune",
    "read_average",
    "read_checkpoint",
    "save_checkpoint",
    "save_weights",
]

_NAME = "step-{:08d}"


class Progress(BaseModel):
    """What a checkpoint stores next to weights and moments: state.json."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    step: int = Field(default=0, ge=0, description="optimizer steps taken")
    metrics_bytes: int = Field(default=0, ge=0, description="length of metrics.jsonl")
    best_score: float | None = None
    best_step: int | None = Field(default=None, ge=0)
    without_better: int = Field(default=0, ge=0, description="evaluations since the best one")
    stopped: bool = Field(default=False, description="ended early")
    averaged: int = Field(default=0, ge=0, description="states in the running average")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk: its folder and the progress it stands for."""

    path: Path
    progress: Progress


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    average: Mapping[str, Tensor] | None = None,
) -> Path:
    """`folder`/step-N with the weights, the optimizer's state, the running `average` of weights if there is one,
    and `progress`, whole or absent.
    """
    weights, moments = _tensors(model), _optimizer_tensors(optimizer)
    averaged = {name: tensor.detach().cpu().contiguous() for name, tensor in (average or {}).items()}
    size = sum(t.numel() * t.element_size() for t in (*weights.values(), *moments.values(), *averaged.values()))
    path = folder / _NAME.format(progress.step)
    require_space(folder, int(size * 1.05) + 1_000_000, what=f"the checkpoint of step {progress.step}")
    with whole_folder(path) as beside:
        save_file(weights, beside / "weights.safetensors")
        save_file(moments, beside / "optimizer.safetensors")
        if averaged:
            save_file(averaged, beside / "average.safetensors")
        write_record(beside / "state.json", progress)
    return path


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint in `folder`; None if there is none. `RunError` if its state.json is damaged."""
    found = sorted(folder.glob("step-*/state.json"))
    if not found:
        return None
    progress = read_record(found[-1], Progress, "mtext train", way_out=_way_out(found[-1]))
    if found[-1].parent.name != _NAME.format(progress.step):
        raise _damaged(found[-1], f"step {progress.step} in the folder {found[-1].parent.name}")
    return Checkpoint(found[-1].parent, progress)


def read_checkpoint(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the checkpoint's weights into `model` and its moments into `optimizer`, bit for bit."""
    load_weights(checkpoint.path / "weights.safetensors", model)
    path = checkpoint.path / "optimizer.safetensors"
    state = optimizer.state_dict()
    state["state"] = _moments(path, [p for group in optimizer.param_groups for p in group["params"]])
    optimizer.load_state_dict(state)


def _moments(path: Path, parameters: Sequence[Tensor]) -> dict[int, dict[str, Tensor]]:
    """AdamW's state by number of the parameter; a shape that is not the parameter's would end in a crash of torch."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _opened(path).items():
        index, _, key = name.partition(".")
        if not index.isascii() or not index.isdigit() or int(index) >= len(parameters):
            raise _damaged(path, f"{shown(name)} for {len(parameters)} parameters")
        _require_like(path, name, tensor, torch.zeros(()) if key == "step" else parameters[int(index)])
        found.setdefault(int(index), {})[key] = tensor
    for number, entry in found.items():
        if entry.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise _damaged(path, f"{', '.join(sorted(entry))} for parameter {number}")
    return found


def read_average(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    """The running average of the weights that are trained, by parameter, as the checkpoint holds it."""
    path = checkpoint.path / "average.safetensors"
    found = _opened(path)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name not in found:
            raise _damaged(path, f"no {name}")
        if parameter.requires_grad:
            _require_like(path, name, found[name], parameter)
    return found


def _require_like(path: Path, name: str, tensor: Tensor, expected: Tensor) -> None:
    if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
        raise _damaged(
            path,
            f"{name} of shape {list(tensor.shape)} and type {tensor.dtype}, "
            f"expected {list(expected.shape)} and {expected.dtype}",
        )


def save_weights(path: Path, model: nn.Module, about: Mapping[str, float]) -> None:
    """A folder with only the weights, and `about` them in state.json for whoever looks; whole or absent."""
    weights = _tensors(model)
    size = sum(t.numel() * t.element_size() for t in weights.values())
    require_space(path.parent, int(size * 1.05) + 1_000_000, what="the best weights")
    with whole_folder(path) as beside:
        save_file(weights, beside / "weights.safetensors")
        write_whole(beside / "state.json", json.dumps(dict(about), indent=2) + "\n")


def load_weights(path: Path, model: nn.Module) -> None:
    """Put the weights of a file into `model`; `RunError` if they are another model's."""
    stored = _opened(path)
    try:
        missing, unexpected = model.load_state_dict(stored, strict=False)
    except RuntimeError as error:
        raise RunError(f"{path}: holds the weights of another model: {error}") from error
    tied = set(missing) - _repeated(model)
    if tied or unexpected:
        raise RunError(f"{path}: holds the weights of another model (lacks {sorted(tied)[:3]}, has {unexpected[:3]})")
    for name, tensor in model.state_dict().items():
        _require_like(path, name, stored.get(name, tensor), tensor)


def _opened(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path}: is damaged ({why}); {_way_out(path)}")


def _way_out(path: Path) -> str:
    return f"remove the folder {path.parent} and resume again, from the checkpoint before it"


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
