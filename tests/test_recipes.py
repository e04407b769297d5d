"""Every recipe in the tree, run for two steps on a tiny local model and local rows."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from matryoshka_text import train
from matryoshka_text.data import read_sources
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.recipe import load_recipe

WORDS = (
    "cat dog man woman father mother child animal boy house street water light city land school world home bank".split()
)
RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {"quickstart.yaml", "bert_nli.yaml", "mlm_ff_vs_mrl.yaml"} <= {path.name for path in RECIPES}


def _columns(source: dict[str, Any]) -> list[str]:
    """The columns the recipe itself names, so that its column mapping is run, not replaced."""
    kinds = {
        "pairs": ["anchor", "positive"],
        "triplets": ["anchor", "positive", "negatives"],
        "nli": ["premise", "hypothesis", "label"],
        "sts": ["sentence1", "sentence2", "score"],
        "scored": ["sentence1", "sentence2", "score"],
        "text": ["text"],
        "mined": ["text"],
        "labelled": ["text", "label"],
    }
    named = source.get("columns") or {}
    found: list[str] = []
    for role in kinds[source["kind"]]:
        column = named.get(role, "negative" if role == "negatives" else role)
        found += column if isinstance(column, list) else [column]
    return found


def _cell(column: str, row: int, source: dict[str, Any]) -> object:
    named = source.get("columns") or {}
    if source["kind"] in ("sts", "scored") and column == named.get("score", "score"):
        return row % 6 / 5
    if source["kind"] == "labelled" and column == named.get("label", "label"):
        return row % 4
    if source["kind"] == "nli":
        if column == named.get("label", "label"):
            return ["entailment", "contradiction"][row % 2]
        if column == named.get("premise", "premise"):
            return f"the premise {row // 2}"
    # Different words, so that mined neighbours differ.
    return f"{column} {' '.join(random.Random(row).sample(WORDS, 8))}"


def _made_small(recipe: dict[str, Any], model: Path, folder: Path) -> dict[str, Any]:
    recipe["base"] = {"model": str(model), "prompts": recipe["base"].get("prompts", {})}
    recipe["dims"] = [4, 8, 16, 32]
    if isinstance(recipe.get("weights"), list):
        recipe["weights"] = [1.0, 1.0, 1.0, 1.0]
    if recipe.get("layers", {}).get("kind") == "pairs":
        recipe["dims"] = [8, 32]
        recipe["layers"]["pairs"] = [[1, 8], [2, 32]]
    for objective in recipe.get("objectives", []):
        objective |= {key: 8 for key in ("batch", "max_length") if key in objective}
    recipe["twins"] = []
    rotation = recipe.get("rotation") or {}
    if rotation:
        rotation |= {"steps": 2, "anchors": 8}
    if "objectives" in recipe:
        recipe["stopping"] = {"steps": 2}
    recipe["batch"] = recipe.get("batch", {}) | {"size": 8, "max_length": 16}
    held = (recipe.get("evaluation") or {}).get("data", [])
    for number, source in enumerate([*recipe.get("data", []), *(rotation.get("data") or []), *held]):
        path = folder / f"{number}.jsonl"
        rows = [{column: _cell(column, row, source) for column in _columns(source)} for row in range(80)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        for key in ("hub", "config", "split", "revision"):
            source.pop(key, None)
        source["file"] = str(path)
        if "vectors" in source:
            source["vectors"] = str(path.with_suffix(".safetensors"))
            vectors = np.random.default_rng(number).standard_normal((80, 24)).astype(np.float32)
            save_file({column: vectors + place for place, column in enumerate(_columns(source))}, source["vectors"])
    return recipe


def test_the_quickstart_has_a_teachers_vector_for_each_of_its_texts(repo: Path) -> None:
    recipe = load_recipe(repo / "recipes/quickstart.yaml")
    rows = read_sources(recipe)
    assert sum(len(source) for source in rows) == 15_000
    texts = {text for source in rows for pair in source.texts() for text in pair}
    assert len(texts) > 29_900
    assert all(vectors.shape[1] == 192 for source in rows for vectors in source.vectors or ())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs(path: Path, tiny_model: Path, tmp_path: Path) -> None:
    small = _made_small(yaml.safe_load(path.read_text()), tiny_model, tmp_path)
    (tmp_path / path.name).write_text(yaml.safe_dump(small))
    run = train(tmp_path / path.name, out=tmp_path / "run")
    assert run.steps == (2 if "objectives" in small else 0)
    assert MatryoshkaEncoder(run.model, device="cpu").dims == tuple(small["dims"])
