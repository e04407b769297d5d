"""The recipe that a run's folder holds: resolved, and the one to go on with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from matryoshka_text import load_recipe, train
from matryoshka_text.errors import RunError
from matryoshka_text.prompts import ModelPrompts
from matryoshka_text.training.folder import RunFolder

Write = Callable[..., Path]


def _weights(model: Path) -> bytes:
    return (model / "model.safetensors").read_bytes()


def test_a_run_writes_down_everything_that_the_recipe_left_open(write_recipe: Write, tmp_path: Path) -> None:
    path = write_recipe(dims="log", precision="auto", layers={"kind": "random"}, stopping={"steps": 1})
    run = train(path, out=tmp_path / "run")
    stored = yaml.safe_load((run.folder / "recipe.yaml").read_text())
    assert stored["dims"] == [8, 16, 32]
    assert stored["precision"] == json.loads((run.folder / "environment.json").read_text())["precision"]
    assert stored["precision"] in ("float32", "bf16")
    assert (stored["batch"]["tokens"], stored["batch"]["text_in_one_pass"]) == (1024, True)
    assert stored["layers"]["kl_temperature"] == 0.05


def test_the_run_of_a_resolved_recipe_is_the_same_run(write_recipe: Write, stream_files, tmp_path: Path) -> None:
    changes = {
        "data": [stream_files["pairs"], stream_files["text"]],
        "objectives": [{"kind": "info_nce"}, {"kind": "mlm", "max_length": 16}],
    }
    first = train(write_recipe(dims="log", stopping={"steps": 2}, **changes), out=tmp_path / "first")
    second = train(first.folder / "recipe.yaml", out=tmp_path / "second")
    assert _weights(first.model) == _weights(second.model)


@pytest.mark.parametrize("own", [False, True], ids=["the recipe as written", "the folder's own"])
def test_a_run_goes_on_with_either_recipe(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_recipe(dims="log", stopping={"steps": 4}, checkpoints={"every": 2})
    run = train(path)
    whole = _weights(run.model)
    for name in ("model", "checkpoints/step-00000004"):
        _remove(run.folder / name)
    again = train(run.folder / "recipe.yaml" if own else path, resume=True)
    assert again.folder.resolve() == run.folder.resolve()
    assert _weights(again.model) == whole


def test_a_folder_of_an_earlier_version_goes_on(write_recipe: Write, tmp_path: Path) -> None:
    """Its recipe.yaml is the recipe as it was written, without the keys that came later."""
    path = write_recipe(dims="log", precision="auto", stopping={"steps": 4}, checkpoints={"every": 2})
    run = train(path, out=tmp_path / "run")
    whole = _weights(run.model)
    old = yaml.safe_load(load_recipe(path).dump_yaml())
    del old["batch"]["text_in_one_pass"]
    (run.folder / "recipe.yaml").write_text(yaml.safe_dump(old))
    for name in ("model", "checkpoints/step-00000004"):
        _remove(run.folder / name)
    assert _weights(train(path, out=run.folder, resume=True).model) == whole


@pytest.mark.parametrize("changes", [{"dims": [4, 8, 32]}, {"batch": {"size": 16, "tokens": 64}}, {"seed": 3}])
def test_another_recipe_is_refused(write_recipe: Write, tmp_path: Path, changes: dict[str, object]) -> None:
    recipe = load_recipe(write_recipe(dims="log", batch={"size": 16}))
    folder = RunFolder(tmp_path / "run")
    folder.start(recipe.resolved_for(32, prompts=ModelPrompts({}), precision="float32", tokens=1024), {})
    assert folder.require_mine(recipe, resume=True).lengths == (8, 16, 32)
    other = load_recipe(write_recipe(**{"dims": "log", "batch": {"size": 16}, **changes}))
    with pytest.raises(RunError, match="is the run of another recipe"):
        folder.require_mine(other, resume=True)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
