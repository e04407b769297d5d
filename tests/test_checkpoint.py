import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from matryoshka_text.checkpoint import (
    Progress,
    latest_checkpoint,
    load_weights,
    prune,
    read_average,
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
    save_checkpoint(tmp_path, first, first_optimizer, Progress(step=6))
    second, second_optimizer = _made(99)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.progress.step == 6
    read_checkpoint(found, second, second_optimizer)
    assert second.first.weight is second.second.weight
    _train(second, second_optimizer, range(6, 10))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_the_newest_whole_one_counts_and_old_ones_go(tmp_path: Path) -> None:
    model, optimizer = _made(0)
    assert latest_checkpoint(tmp_path) is None
    for step in (5, 10, 100):
        save_checkpoint(tmp_path, model, optimizer, Progress(step=step))
    (tmp_path / "step-00000200").mkdir()  # no state.json: not whole
    (tmp_path / ".step-00000300.x.part").mkdir()
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.progress.step == 100
    (tmp_path / "step-00000200").rmdir()
    prune(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    model, optimizer = _made(0)
    _train(model, optimizer, range(2))
    path = save_checkpoint(tmp_path, model, optimizer, Progress(step=2))
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
        save_checkpoint(tmp_path, model, optimizer, Progress(step=7))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"step": -5}', "step: Input should be greater than or equal to 0, found -5"),
        ('{"step": "2"}', "step: Input should be a valid integer, found '2'"),
        ('{"step": 2.5}', "step: Input should be a valid integer"),
        ('{"step": true}', "step: Input should be a valid integer, found true"),
        ('{"step": 2, "stopped": 1}', "stopped: Input should be a valid boolean, found 1"),
        ('{"step": 2, "best_score": NaN}', "best_score"),
        ('{"step": 2, "other": 1}', "other: Extra inputs are not permitted"),
        ('{"step": 3}', "step 3 in the folder step-00000002"),
        ("[" * 100_000, "recursion limit exceeded"),
        ("[]", "Input should be an object"),
        ("", "EOF while parsing"),
    ],
)
def test_a_state_that_was_changed_is_refused(tmp_path: Path, content: str, said: str) -> None:
    model, optimizer = _made(0)
    path = save_checkpoint(tmp_path, model, optimizer, Progress(step=2))
    (path / "state.json").write_text(content)
    with pytest.raises(
        RunError, match=rf"state\.json: .*{re.escape(said)}.*remove the folder .*step-00000002 and resume"
    ):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"0.exp_avg": torch.zeros(999)}, "0.exp_avg of shape [999] and type torch.float32, expected [4, 4]"),
        (
            {"0.exp_avg": torch.zeros(4, 4, dtype=torch.float64)},
            "0.exp_avg of shape [4, 4] and type torch.float64, expected [4, 4] and torch.float32",
        ),
        ({"0.step": torch.zeros(2)}, "0.step of shape [2]"),
        ({"77.exp_avg": torch.zeros(4)}, "'77.exp_avg' for 3 parameters"),
        ({"x.exp_avg": torch.zeros(4)}, "'x.exp_avg' for 3 parameters"),
        ({"0.exp_avg": None}, "exp_avg_sq, step for parameter 0"),
    ],
)
def test_moments_that_are_not_the_parameters_own_are_refused(
    tmp_path: Path, change: dict[str, torch.Tensor | None], said: str
) -> None:
    model, optimizer = _made(0)
    _train(model, optimizer, range(2))
    path = save_checkpoint(tmp_path, model, optimizer, Progress(step=2)) / "optimizer.safetensors"
    tensors = {name: tensor for name, tensor in (load_file(path) | change).items() if tensor is not None}
    save_file(tensors, path)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    with pytest.raises(RunError, match=rf"optimizer\.safetensors: is damaged \({re.escape(said)}"):
        read_checkpoint(found, model, optimizer)


def test_an_average_and_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    model, optimizer = _made(0)
    average = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    path = save_checkpoint(tmp_path, model, optimizer, Progress(step=2, averaged=1), average)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert read_average(found, model).keys() == average.keys()
    save_file(average | {"first.bias": torch.zeros(5)}, path / "average.safetensors")
    with pytest.raises(RunError, match=r"average\.safetensors: is damaged \(first\.bias of shape \[5\]"):
        read_average(found, model)
    save_file({"first.bias": torch.zeros(4)}, path / "average.safetensors")
    with pytest.raises(RunError, match=r"average\.safetensors: is damaged \(no "):
        read_average(found, model)
    half = {name: tensor.half() for name, tensor in load_file(path / "weights.safetensors").items()}
    save_file(half, path / "weights.safetensors")
    with pytest.raises(RunError, match=r"weights\.safetensors: is damaged \(.*type torch\.float16"):
        load_weights(path / "weights.safetensors", model)
