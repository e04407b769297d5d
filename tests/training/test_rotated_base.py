"""Training on a rotated base: its Dense is a layer like any other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from matryoshka_text import rotate, train
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.rotation import FitSettings

Write = Callable[..., Path]
INFO_NCE = {"kind": "info_nce"}
CASES: dict[str, dict[str, Any]] = {
    "info_nce": {"objectives": [INFO_NCE]},
    "lora": {"lora": {"rank": 2}},
    "layers": {"layers": {"kind": "random"}},
    "distill": {"objectives": [{"kind": "distill", "pair_weight": 10.0}]},
    "self_distill": {"objectives": [INFO_NCE, {"kind": "self_distill", "pair_weight": 1.0}]},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_on_it_gives_a_plain_model(write_recipe: Write, rotated_model: Path, tmp_path: Path, case: str) -> None:
    path = write_recipe(base={"model": str(rotated_model)}, **CASES[case])
    run = train(path, out=tmp_path / "run")
    plain = SentenceTransformer(str(run.model), device="cpu")
    ours = MatryoshkaEncoder(run.model, device="cpu")
    assert sum(isinstance(module, Dense) for module in plain) == 1
    np.testing.assert_allclose(plain.encode(["a cat"]), ours.encode(["a cat"]), atol=1e-6)
    losses = [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(losses).all()


def test_gradient_caching_trains_the_same_model(write_recipe: Write, rotated_model: Path, tmp_path: Path) -> None:
    found = {}
    for name, cached in (("kept", False), ("cached", True)):
        batch = {"size": 16, "max_length": 24, "chunk": 5, "gradient_caching": cached}
        run = train(write_recipe(base={"model": str(rotated_model)}, batch=batch), out=tmp_path / name)
        found[name] = MatryoshkaEncoder(run.model, device="cpu").encode(["a cat sleeps", "the red street"])
    np.testing.assert_array_equal(found["kept"], found["cached"])


def test_the_folder_of_mtext_rotate_holds_a_base(
    write_recipe: Write, tiny_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    texts = [json.loads(line)["anchor"] for line in rows_file.read_text().splitlines()]
    rotate(tiny_model, texts, out=tmp_path / "rotated", settings=FitSettings(steps=4, anchors=16))
    run = train(write_recipe(base={"model": str(tmp_path / "rotated/model")}), out=tmp_path / "run")
    assert run.model.is_dir()
