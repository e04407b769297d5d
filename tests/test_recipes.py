"""Every recipe in the tree, run for two steps on a tiny local model and local rows."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from matryoshka_text import train
from matryoshka_text.encoder import MatryoshkaEncoder

RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {"quickstart.yaml", "bert_nli.yaml"} <= {path.name for path in RECIPES}


def _columns(source: dict[str, Any]) -> list[str]:
    """The columns the recipe itself names, so that its column mapping is run, not replaced."""
    kinds = {
        "pairs": ["anchor", "positive"],
        "triplets": ["anchor", "positive", "negatives"],
        "nli": ["premise", "hypothesis", "label"],
        "sts": ["sentence1", "sentence2", "score"],
    }
    named = source.get("columns") or {}
    found: list[str] = []
    for role in kinds[source["kind"]]:
        column = named.get(role, "negative" if role == "negatives" else role)
        found += column if isinstance(column, list) else [column]
    return found


def _cell(column: str, row: int, source: dict[str, Any]) -> object:
    named = source.get("columns") or {}
    if source["kind"] == "sts" and column == named.get("score", "score"):
        return row % 6
    if source["kind"] == "nli":
        if column == named.get("label", "label"):
            return ["entailment", "contradiction"][row % 2]
        if column == named.get("premise", "premise"):
            return f"the premise {row // 2}"
    return f"{column} number {row} in the house"


def _made_small(recipe: dict[str, Any], model: Path, folder: Path) -> dict[str, Any]:
    recipe["base"] = {"model": str(model)}
    recipe["dims"] = [4, 8, 16, 32]
    recipe["weights"] = None
    recipe["stopping"] = {"steps": 2}
    recipe["batch"] = recipe.get("batch", {}) | {"size": 8, "max_length": 16}
    held = (recipe.get("evaluation") or {}).get("data", [])
    for number, source in enumerate([*recipe["data"], *held]):
        path = folder / f"{number}.jsonl"
        rows = [{column: _cell(column, row, source) for column in _columns(source)} for row in range(80)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        for key in ("hub", "config", "split", "revision"):
            source.pop(key, None)
        source["file"] = str(path)
    return recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs(path: Path, tiny_model: Path, tmp_path: Path) -> None:
    small = _made_small(yaml.safe_load(path.read_text()), tiny_model, tmp_path)
    (tmp_path / path.name).write_text(yaml.safe_dump(small))
    run = train(tmp_path / path.name, out=tmp_path / "run")
    assert run.steps == 2
    assert MatryoshkaEncoder(run.model, device="cpu").dims == (4, 8, 16, 32)
