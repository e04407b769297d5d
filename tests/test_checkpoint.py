from pathlib import Path

import pytest
import torch
from torch import nn

from matryoshka_text.checkpoint import (
    latest_checkpoint,
    load_weights,
    prune,
    read_checkpoint,
    save_checkpoint,
    save_weights,
)
from matryoshka_text.errors import RunError


class _Tied(nn.Module):
    def __init__(self, seed: int, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        model(torch.randn(3, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def _made(seed: int) -> tuple[_Tied, torch.optim.Optimizer]:
    model = _Tied(seed)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim < 2]},
    ]
    return model, torch.optim.AdamW(groups, lr=0.1)


def test_going_on_from_a_checkpoint_is_bit_identical(tmp_path: Path) -> None:
    whole, whole_optimizer = _made(0)
    _train(whole, whole_optimizer, range(10))
    first, first_optimizer = _made(0)
    _train(first, first_optimizer, range(6))
    save_checkpoint(tmp_path, first, first_optimizer, {"step": 6})
    second, second_optimizer = _made(99)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 6
    read_checkpoint(found, second, second_optimizer)
    assert second.first.weight is second.second.weight
    _train(second, second_optimizer, range(6, 10))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_the_newest_whole_one_counts_and_old_ones_go(tmp_path: Path) -> None:
    model, optimizer = _made(0)
    assert latest_checkpoint(tmp_path) is None
    for step in (5, 10, 100):
        save_checkpoint(tmp_path, model, optimizer, {"step": step})
    (tmp_path / "step-00000200").mkdir()  # no state.json: not whole
    (tmp_path / ".step-00000300.x.part").mkdir()
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 100
    (tmp_path / "step-00000200").rmdir()
    prune(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    model, optimizer = _made(0)
    _train(model, optimizer, range(2))
    path = save_checkpoint(tmp_path, model, optimizer, {"step": 2})
    assert sorted(p.name for p in path.iterdir()) == ["optimizer.safetensors", "state.json", "weights.safetensors"]


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "best", _Tied(0, width=8), {})
    with pytest.raises(RunError, match="another model"):
        load_weights(tmp_path / "best" / "weights.safetensors", _Tied(0))
    save_weights(tmp_path / "other", nn.Linear(4, 4), {})
    with pytest.raises(RunError, match="another model"):
        load_weights(tmp_path / "other" / "weights.safetensors", _Tied(0))


def test_a_full_disk_is_found_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    model, optimizer = _made(0)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(RunError, match=r"the checkpoint of step 7 needs .* the disk has 0\.0 MB free"):
        save_checkpoint(tmp_path, model, optimizer, {"step": 7})
    assert list(tmp_path.iterdir()) == []
