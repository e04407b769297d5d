import logging
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from matryoshka_text.encoder import MatryoshkaEncoder


def _without(model: Path, to: Path, part: str, renamed: dict[str, str] | None = None) -> Path:
    shutil.copytree(model, to)
    kept = {k: v for k, v in load_file(model / "model.safetensors").items() if part not in k}
    for old, new in (renamed or {}).items():
        kept = {k.replace(old, new): v for k, v in kept.items()}
    save_file(kept, to / "model.safetensors", metadata={"format": "pt"})
    return to


def test_missing_layers_are_named(tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "matryoshka_text"):
        MatryoshkaEncoder(_without(tiny_model, tmp_path / "cut", "layer.1.attention"), device="cpu")
    assert "the checkpoint lacks 10 weights, which start at random: encoder.layer.1.attention" in caplog.text


@pytest.mark.parametrize("renamed", [{}, {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}])
def test_a_missing_pooler_and_old_names_are_no_news(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, renamed: dict[str, str]
) -> None:
    with caplog.at_level(logging.WARNING, "matryoshka_text"):
        MatryoshkaEncoder(_without(tiny_model, tmp_path / "m", "pooler", renamed), device="cpu")
        MatryoshkaEncoder(tiny_model, device="cpu")
    assert "lacks" not in caplog.text
