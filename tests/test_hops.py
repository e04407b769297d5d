"""From the dims to the loss, and from a row to its gradient."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import BertModel

from matryoshka_text import train
from matryoshka_text.nested import chunked
from tests.hops import deepest, watched


def test_from_the_dims_to_the_loss_and_from_a_row_to_its_gradient(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"anchor": f"the cat {number} will play", "positive": f"a cat {number} can"} for number in range(24)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "hops",
        "base": {"model": str(tiny_model)},
        "dims": [4, 32],
        "data": [{"name": "rows", "file": "rows.jsonl", "kind": "pairs"}],
        "objectives": [{"kind": "info_nce"}],
        "batch": {"size": 8, "gradient_caching": True},
        "optimizer": {"learning_rate": 1e-3},
        "stopping": {"steps": 1},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    losses, forward = watched(monkeypatch, chunked._Chunked, "apply"), watched(monkeypatch, BertModel, "forward")
    backward = watched(monkeypatch, torch.autograd, "backward")
    train(tmp_path / "recipe.yaml", out=tmp_path / "run")
    loss = deepest(losses, "loop.Loop.step")
    # A step's dims are chosen in the step; what is outside of it is the job's.
    assert len(loss[loss.index("loop.Loop.step") :]) <= 7
    for calls in (forward, backward):
        assert len(deepest(calls, "loop.Loop.step")) <= 14
