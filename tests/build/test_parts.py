from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from matryoshka_text import load_recipe
from matryoshka_text.build.parts import build_adapter, build_encoder, build_teacher
from matryoshka_text.recipe import Recipe

TEXTS = ["the cat is sleeping", "money transfer to my bank account"]


def _recipe(tmp_path: Path, model: str, **changes: object) -> Recipe:
    (tmp_path / "rows.jsonl").write_text('{"anchor": "a", "positive": "b"}\n')
    values = {
        "name": "tiny",
        "base": {"model": model},
        "dims": [4, 32],
        "data": [{"name": "rows", "file": "rows.jsonl", "kind": "pairs"}],
        "objectives": [{"kind": "distill"}],
        "stopping": {"steps": 1},
    } | changes
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    return load_recipe(tmp_path / "tiny.yaml")


def test_the_teacher_is_the_untrained_encoder_and_stays_it(tmp_path: Path, tiny_model: Path) -> None:
    recipe = _recipe(tmp_path, str(tiny_model), lora={"rank": 2})
    encoder = build_encoder(recipe, torch.device("cpu"))
    before = encoder.encode(TEXTS)
    teacher = build_teacher(recipe, encoder)
    build_adapter(recipe, encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1)
    assert teacher is not None
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any("lora" in name for name, _ in teacher.named_parameters())
    np.testing.assert_array_equal(teacher.encode(TEXTS), before)


def test_contrastive_training_needs_no_teacher(tmp_path: Path, tiny_model: Path) -> None:
    recipe = _recipe(tmp_path, str(tiny_model), objectives=[{"kind": "info_nce", "temperature": 0.1, "weight": 2.0}])
    encoder = build_encoder(recipe, torch.device("cpu"))
    assert build_teacher(recipe, encoder) is None


def test_adapters_depend_on_the_seed_alone(tmp_path: Path, tiny_model: Path) -> None:
    made = []
    for seed in (1, 1, 2):
        recipe = _recipe(tmp_path, str(tiny_model), lora={"rank": 2}, seed=seed)
        encoder = build_encoder(recipe, torch.device("cpu"))
        torch.rand(seed)
        build_adapter(recipe, encoder)
        made.append(torch.cat([p.flatten() for n, p in encoder.named_parameters() if "lora_A" in n]))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_relative_model_lies_beside_the_recipe(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").symlink_to(tiny_model)
    recipe = _recipe(tmp_path, "./model")
    monkeypatch.chdir("/")
    assert build_encoder(recipe, torch.device("cpu")).width == 32
