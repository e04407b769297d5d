"""Recipes with a rotation: alone, before objectives, resumed, and as twins."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from matryoshka_text import train
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import DataError, RecipeError, RunError
from matryoshka_text.files import held
from matryoshka_text.rotation import Rotation

Write = Callable[..., Path]
SETTINGS = {"steps": 20, "warmup": 4, "check_every": 10, "anchors": 16}
ALONE: dict[str, Any] = {"objectives": None, "stopping": None, "rotation": SETTINGS}
BOTH: dict[str, Any] = {"rotation": SETTINGS, "objectives": [{"kind": "distill"}], "stopping": {"steps": 6}}
TEXTS = ["the cat will play in the house", "a man can read at this school", "no dog would walk there"]


def _metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _weights(model: Path) -> dict[str, torch.Tensor]:
    return {f"{file.parent.name}:{k}": v for file in model.rglob("*.safetensors") for k, v in load_file(file).items()}


def _same(first: Path, second: Path) -> bool:
    a, b = _weights(first), _weights(second)
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


def test_a_rotation_alone_turns_the_base(write_recipe: Write, tiny_model: Path, tmp_path: Path) -> None:
    run = train(write_recipe(**ALONE), out=tmp_path / "run")
    assert run.steps == 0
    assert sorted(p.name for p in run.folder.iterdir() if not p.name.startswith(".")) == [
        "environment.json",
        "metrics.jsonl",
        "model",
        "recipe.yaml",
        "rotation.json",
        "rotation.safetensors",
    ]
    rotation = Rotation.open(run.folder / "rotation.safetensors")
    assert rotation.dims == (4, 8, 16)
    before = SentenceTransformer(str(tiny_model), device="cpu").encode(TEXTS)
    after = SentenceTransformer(str(run.model), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(after, rotation.apply(before), atol=1e-6)
    assert MatryoshkaEncoder(run.model, device="cpu").dims == (4, 8, 16, 32)
    card = (run.model / "README.md").read_text()
    assert "rotated with matryoshka-text" in card and "from texts of rows" in card and "Objectives" not in card
    again = train(write_recipe(**ALONE), out=tmp_path / "run", resume=True)
    assert "has ended already" in again.summary


def test_the_metrics_and_the_record_say_what_was_learned(write_recipe: Write, tmp_path: Path) -> None:
    run = train(write_recipe(**ALONE), out=tmp_path / "run")
    lines, record = _metrics(run.folder), json.loads((run.folder / "rotation.json").read_text())
    steps = [line for line in lines if "loss" in line]
    assert [line["rotation_step"] for line in steps] == list(range(1, 21))
    assert {line["source"] for line in steps} == {"rows"}
    assert all(set(line["loss"]["rotation"]) == {"4", "8", "16"} for line in steps)
    # The identity and the start, then every ten steps.
    assert [line["rotation_step"] for line in lines if "held_back" in line] == [0, 0, 10, 20]
    assert record["lines"] == lines
    assert record["texts"] == {"rows": 800}
    (kept,) = record["kept"]
    for when in ("before", "after"):
        shown = "  ".join(f"{dim}: {100 * share:.1f}" for dim, share in kept[when].items())
        assert f"neighbours kept {when} the rotation, % ({shown})" in run.summary
    assert math.fsum(kept["after"].values()) > math.fsum(kept["before"].values())


def test_objectives_and_the_teacher_start_from_the_rotated_base(
    write_recipe: Write, still: Callable[[Path, Path], Path], tiny_model: Path, tmp_path: Path
) -> None:
    """Without dropout, and at a learning rate of nearly nothing: student and teacher stay the rotated base."""
    base = {"base": {"model": str(still(tiny_model, tmp_path / "still"))}}
    alone = train(write_recipe(**ALONE | base), out=tmp_path / "alone")
    first: list[float] = []
    for weight in (0.0, 100.0):
        changes = {
            "objectives": [{"kind": "distill", "vector_weight": weight}],
            "optimizer": {"learning_rate": 1e-30},
            "stopping": {"steps": 2},
        }
        both = train(write_recipe(**BOTH | base | changes), out=tmp_path / f"both-{weight}")
        one, other = (Rotation.open(run.folder / "rotation.safetensors").matrix for run in (alone, both))
        assert (one == other).all()
        a, b = (SentenceTransformer(str(run.model), device="cpu").encode(TEXTS) for run in (alone, both))
        np.testing.assert_allclose(a, b, atol=1e-6)
        lines, before = _metrics(both.folder), _metrics(alone.folder)
        assert lines[: len(before)] == before
        assert [line["step"] for line in lines[len(before) :]] == [1, 2]
        first.append(lines[-1]["loss"])
    # No prefix of the student lies anywhere else than the teacher's.
    assert first[1] == pytest.approx(first[0], abs=1e-3)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_matrix_is_not_trained(write_recipe: Write, tmp_path: Path, frozen: bool) -> None:
    run = train(write_recipe(**BOTH | {"rotation": SETTINGS | {"frozen": frozen}}), out=tmp_path / "run")
    expected = torch.from_numpy(Rotation.open(run.folder / "rotation.safetensors").matrix.T).float()
    (file,) = (run.model / "2_Dense").glob("*.safetensors")
    assert torch.equal(load_file(file)["linear.weight"], expected) == frozen


def test_sources_of_its_own_of_every_kind(
    write_recipe: Write, stream_files: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    rotation = SETTINGS | {"data": list(stream_files.values()), "texts": 90, "max_characters": 20}
    recipe = write_recipe(**BOTH | {"rotation": rotation})
    there = set(tmp_path.rglob("*"))
    outlook = train(recipe, out=tmp_path / "run", dry_run=True).summary
    assert set(tmp_path.rglob("*")) == there
    for name in stream_files:
        assert f"texts of {name}" in outlook
    run = train(recipe, out=tmp_path / "run")
    record = json.loads((run.folder / "rotation.json").read_text())
    assert set(record["texts"]) == set(stream_files) and max(record["texts"].values()) == 90
    stored = json.loads((run.folder / "environment.json").read_text())["data"]
    assert set(stored) == {"data.rows", *(f"rotation.{name}" for name in stream_files)}


def test_a_resumed_run_reads_its_rotation(write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_recipe(**BOTH)
    run = train(recipe, out=tmp_path / "run")
    lines, weights = _metrics(run.folder), _weights(run.model)
    (run.model / "modules.json").unlink()  # as if it had been killed before its end
    monkeypatch.setattr("matryoshka_text.training.rotated.learn_from_texts", None)
    again = train(recipe, out=tmp_path / "run", resume=True)
    assert _metrics(run.folder) == lines
    assert all(torch.equal(weights[name], tensor) for name, tensor in _weights(again.model).items())


def test_another_rotation_in_a_run_that_has_begun_is_an_error(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(**BOTH)
    run = train(recipe, out=tmp_path / "run")
    (run.model / "modules.json").unlink()
    record = run.folder / "rotation.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"fingerprint": "0"}))
    with pytest.raises(RunError, match=r"rotation\.safetensors: was learned from other texts or another model"):
        train(recipe, out=run.folder, resume=True)
    # Before the run had begun, it is learned again.
    (run.folder / "recipe.yaml").unlink()
    for name in ("environment.json", "metrics.jsonl"):
        (run.folder / name).unlink()
    for name in ("checkpoints", "model"):
        shutil.rmtree(run.folder / name)
    train(recipe, out=run.folder, resume=True)
    assert json.loads(record.read_text())["fingerprint"] != "0"


def test_twins_start_from_the_rotation_of_their_run(write_recipe: Write, tmp_path: Path) -> None:
    run = train(write_recipe(**BOTH | {"dims": [8, 32], "twins": ["ff", "plain"]}), out=tmp_path / "run")
    own = (run.folder / "rotation.safetensors").read_bytes()
    for name in ("ff-8", "ff-32", "plain"):
        assert (run.folder / "twins" / name / "rotation.safetensors").read_bytes() == own
        assert [line["step"] for line in _metrics(run.folder / "twins" / name) if "step" in line] == list(range(1, 7))


def test_a_twin_without_objectives_is_an_error(write_recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--twin: found plain, but the recipe has no objectives"):
        train(write_recipe(**ALONE), out=tmp_path / "run", twins=["plain"])
    assert not (tmp_path / "run").exists()


def test_lora_is_trained_on_the_rotated_base(write_recipe: Write, tmp_path: Path) -> None:
    run = train(write_recipe(**BOTH | {"lora": {"rank": 2}}), out=tmp_path / "run")
    expected = torch.from_numpy(Rotation.open(run.folder / "rotation.safetensors").matrix.T).float()
    (file,) = (run.model / "2_Dense").glob("*.safetensors")
    assert torch.equal(load_file(file)["linear.weight"], expected)


def _ends_in_a_dense(model: Path, to: Path) -> Path:
    MatryoshkaEncoder(model, device="cpu").truncated(dim=16).save(str(to))
    return to


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dims": [32]}, RecipeError, r"dims: found \[32\], but a rotation changes prefixes below the width only"),
        ({"rotation": {"dims": [4, 64]}}, RecipeError, r"rotation\.dims\[1\]: found 64.*width 32"),
        ({"rotation": {"texts": 40}}, DataError, r"rotation: found 40 different texts in all; allowed: at least 64"),
        (
            {"rotation": {"texts": 70, "neighbours": 63}},
            DataError,
            r"data\[0\]: found 70 different texts in 'rows', 63 of them to learn from; allowed: at least 65",
        ),
    ],
)
def test_what_cannot_be_rotated_leaves_nothing_behind(
    write_recipe: Write, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(write_recipe(**ALONE | changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_base_that_was_cut_cannot_be_rotated(write_recipe: Write, tiny_model: Path, tmp_path: Path) -> None:
    base = {"model": str(_ends_in_a_dense(tiny_model, tmp_path / "cut"))}
    with pytest.raises(RecipeError, match=r"ends in a Dense from 32 to 16 dims"):
        train(write_recipe(**ALONE | {"base": base, "dims": [4, 8]}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_narrow_teacher_has_no_vectors_to_compare(write_recipe: Write, tiny_model: Path, tmp_path: Path) -> None:
    teacher = str(_ends_in_a_dense(tiny_model, tmp_path / "narrow"))
    objectives = [{"kind": "distill", "teacher": teacher, "vector_weight": 1.0}]
    train(write_recipe(objectives=objectives, stopping={"steps": 1}), out=tmp_path / "fits")
    path = write_recipe(objectives=objectives, dims=[4, 20, 32])
    with pytest.raises(RecipeError, match=r"objectives\[0\]\.vector_weight: found 1, but the teacher's vectors are 16"):
        train(path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_runs_do_not_learn_a_rotation_in_one_folder(write_recipe: Write, tmp_path: Path) -> None:
    with held(tmp_path / "run", doing="training"), pytest.raises(RunError, match="another process is training here"):
        train(write_recipe(**ALONE), out=tmp_path / "run", resume=True)
    assert not (tmp_path / "run/rotation-vectors").exists()
