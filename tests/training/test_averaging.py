"""The running average against a loop over all states, and what a run makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from matryoshka_text import train
from matryoshka_text.build.parts import Trained
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.recipe import Averaging
from matryoshka_text.training.averaging import RunningAverage

Write = Callable[..., Path]


@pytest.fixture
def trained(tiny_model: Path) -> Trained:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    encoder[0].requires_grad_(True)
    next(iter(encoder.parameters())).requires_grad_(False)
    return Trained(encoder)


def _states(trained: Trained, average: RunningAverage, steps: int) -> list[dict[str, torch.Tensor]]:
    make = torch.Generator().manual_seed(0)
    states = []
    for step in range(steps):
        with torch.no_grad():
            for p in trained.parameters():
                if p.requires_grad:
                    p.add_(torch.randn(p.shape, generator=make))
        average.update(step + 1)
        states.append({name: p.detach().clone() for name, p in trained.named_parameters()})
    return states


@pytest.mark.parametrize(
    ("start", "every", "counted"),
    [(0.5, 1, [5, 6, 7, 8, 9]), (0.0, 4, [0, 4, 8]), (0.85, 1, [8, 9]), (0.33, 5, [3, 8])],
)
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_it_is_the_mean_of_the_states_after_the_start(
    trained: Trained, start: float, every: int, counted: list[int], share: float
) -> None:
    base = {name: p.detach().clone() for name, p in trained.named_parameters()}
    average = RunningAverage(Averaging(start=start, every=every, base_share=share), trained, 10)
    states = _states(trained, average, 10)
    assert average.count == len(counted)
    with average.in_place():
        for name, p in trained.named_parameters():
            mean = torch.stack([states[i][name].double() for i in counted]).mean(0)
            expected = (1 - share) * mean + share * base[name].double()
            torch.testing.assert_close(p.double(), expected, rtol=0, atol=1e-5)
    assert all(torch.equal(p, states[-1][name]) for name, p in trained.named_parameters())


def test_before_it_begins_the_weights_stand_in(trained: Trained) -> None:
    average = RunningAverage(Averaging(start=0.9), trained, 10)
    states = _states(trained, average, 3)
    assert average.count == 0 and not average.tensors
    with average.in_place():
        assert all(torch.equal(p, states[-1][name]) for name, p in trained.named_parameters())


def test_it_goes_on_from_what_was_stored(trained: Trained) -> None:
    average, again = (RunningAverage(Averaging(start=0.0), trained, 10) for _ in "ab")
    _states(trained, average, 4)
    again.restore({name: tensor.clone() for name, tensor in average.tensors.items()}, average.count)
    for one in (average, again):
        one.update(5)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in average.tensors.items())


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_a_run_exports_the_average(write_recipe: Write, tmp_path: Path) -> None:
    """The states of every step, from their checkpoints, against the model of the averaged run."""
    kept: dict[str, Any] = {"checkpoints": {"every": 1, "keep": 10}}
    plain = train(write_recipe(**kept), out=tmp_path / "plain")
    run = train(write_recipe(averaging={"start": 0.5}), out=tmp_path / "run")
    assert "averaged the weights of 4 steps, from step 5 on" in run.summary
    states = [load_file(plain.folder / "checkpoints" / f"step-{n:08d}" / "weights.safetensors") for n in (5, 6, 7, 8)]
    for name, found in _weights(run.folder).items():
        (key,) = [one for one in states[0] if one.endswith(name)]
        expected = torch.stack([state[key].double() for state in states]).mean(0)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


def test_a_base_share_of_one_is_the_base(write_recipe: Write, tiny_model: Path, tmp_path: Path) -> None:
    run = train(write_recipe(averaging={"base_share": 1.0}, stopping={"steps": 2}), out=tmp_path / "run")
    base = load_file(tiny_model / "model.safetensors")
    assert all(torch.equal(base[name], found) for name, found in _weights(run.folder).items())


def test_held_out_sets_score_what_is_exported(write_recipe: Write, rows_file: Path, tmp_path: Path) -> None:
    """All of the base: every evaluation finds the model where it began, and no weight is lost by it."""
    import json

    held_out = {"every": 4, "data": [{"name": "found", "file": str(rows_file), "kind": "pairs", "rows": 30}]}
    run = train(write_recipe(averaging={"base_share": 1.0}, evaluation=held_out), out=tmp_path / "run")
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert len({line["score"] for line in lines if "score" in line}) == 1
    plain = train(write_recipe(), out=tmp_path / "plain")
    other = [json.loads(line) for line in (plain.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines if "loss" in line] == [line["loss"] for line in other]
