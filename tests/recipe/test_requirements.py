"""What a recipe needs of its base and data is told alike by `mtext check` and by a dry run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from matryoshka_text import train
from matryoshka_text.build.check import inspect_recipe
from matryoshka_text.errors import RecipeError
from matryoshka_text.recipe.facts import BaseFacts, Facts
from matryoshka_text.recipe.requirements import batch_of, requirements

WRONG: dict[str, dict[str, Any]] = {
    "dims": {"dims": [4, 48, 64]},
    "distill": {"dims": [4, 16], "objectives": [{"kind": "distill"}]},
    "weights": {"dims": "log", "weights": [1.0, 2.0]},
    "lowest": {"layers": {"kind": "random", "lowest": 2}},
    "pairs": {"dims": [8, 32], "layers": {"kind": "pairs", "pairs": [[1, 8], [3, 32]]}},
    "batch": {"batch": {"size": 13}},
    "rotation": {"rotation": {"dims": [8, 40], "texts": 70}},
    "vectors": {"objectives": [{"kind": "distill", "vectors": True}]},
    "prompt": {"data": [{"name": "rows", "file": "rows.jsonl", "kind": "pairs", "prompts": {"anchor": "ask: "}}]},
    "default_prompt": {"base": {"model": "MODEL", "prompts": {"q": "ask: "}, "default_prompt_name": "query: "}},
    "several": {"dims": [4, 64], "batch": {"size": 13}},
}


@pytest.fixture
def write(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    def make(**changes: Any) -> Path:
        rows = [{"anchor": f"the cat number {i}", "positive": f"a dog number {i}"} for i in range(12)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe = {
            "name": "wrong",
            "base": {"model": str(tiny_model)},
            "dims": [4, 32],
            "data": [{"name": "rows", "file": "rows.jsonl", "kind": "pairs"}],
            "objectives": [{"kind": "info_nce"}],
            "batch": {"size": 4},
            "stopping": {"steps": 1},
            "precision": "float32",
        }
        written = yaml.safe_dump({**recipe, **changes}).replace("MODEL", str(tiny_model))
        (tmp_path / "wrong.yaml").write_text(written)
        return tmp_path / "wrong.yaml"

    return make


@pytest.mark.parametrize("case", WRONG)
def test_check_and_dry_run_tell_the_same(write: Callable[..., Path], tmp_path: Path, case: str) -> None:
    path = write(**WRONG[case])
    checked = inspect_recipe(path).problems
    with pytest.raises(RecipeError) as error:
        train(path, out=tmp_path / "run", dry_run=True)
    told = str(error.value).splitlines()
    assert told
    # Too few texts for a rotation are a fault of the data, which a dry run comes to later.
    assert [line for line in checked if ": rotation: " not in line] == told
    assert all(line.startswith(f"{path}:") for line in told)


def test_what_is_not_known_is_no_fault() -> None:
    found = {"dims": [4, 4096], "objectives": [{"kind": "mlm"}, {"kind": "distill"}], "layers": {"kind": "random"}}
    assert list(requirements(found, Facts())) == []


def test_raw_values_of_any_type_are_passed_over() -> None:
    facts = Facts(BaseFacts(width=32, depth=2, hidden=32, tokens=64, words=False, dense=(32, 16)), {}, {0: 3})
    for wrong in (None, 7, "x", [], ["x"], {"kind": "x"}, [{"kind": 3}]):
        keys = ("base", "dims", "weights", "layers", "data", "objectives", "rotation", "batch")
        for key in keys:
            found = {"dims": [4, 32], "data": [{"kind": "pairs"}], "objectives": [{"kind": "info_nce"}], key: wrong}
            if key != "data":
                assert all(isinstance(fault, tuple) for fault in requirements(found, facts))


def test_the_batch_of_a_stream() -> None:
    found = {"objectives": [{"kind": "info_nce"}, {"kind": "cosent", "batch": 6}], "batch": {"size": 8}}
    assert batch_of(found, "pairs") == (8, ("batch", "size"))
    assert batch_of(found, "scored") == (6, ("objectives", 1, "batch"))
    assert batch_of({}, "pairs") == (64, ("batch", "size"))
