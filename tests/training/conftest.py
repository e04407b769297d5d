import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

SUBJECTS = "cat dog man woman father mother child animal boy people".split()
VERBS = "play sleep walk read write eat move turn work stand".split()
PLACES = "house street water light city land school world picture home".split()


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 pairs whose two texts share words, and are all different."""
    path = tmp_path_factory.mktemp("rows") / "pairs.jsonl"
    rows = [
        {
            "anchor": f"the {s} will {v} in the {p}" + " and then some more" * (i % 3),
            "positive": f"a {s} can {v} at this {p} number {i % 97}",
            "negative": f"no {s} would {VERBS[(i + 3) % 10]} there {i}",
        }
        for i, (s, v, p) in enumerate((s, v, p) for s in SUBJECTS for v in VERBS for p in PLACES[:4])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def write_recipe(tmp_path: Path, tiny_model: Path, rows_file: Path) -> Callable[..., Path]:
    """A recipe file on the tiny model; keyword arguments replace whole sections, None removes one."""

    def write(name: str = "recipe.yaml", **changes: Any) -> Path:
        recipe: dict[str, Any] = {
            "name": "tiny",
            "base": {"model": str(tiny_model)},
            "dims": [4, 8, 16, 32],
            "data": [{"name": "rows", "file": str(rows_file), "kind": "pairs"}],
            "objectives": [{"kind": "info_nce"}],
            "batch": {"size": 16, "max_length": 24},
            "optimizer": {"learning_rate": 1e-3},
            "stopping": {"steps": 8},
            "checkpoints": {"every": 3},
            "precision": "float32",
        }
        recipe |= changes
        path = tmp_path / name
        path.write_text(yaml.safe_dump({k: v for k, v in recipe.items() if v is not None}))
        return path

    return write


@pytest.fixture(scope="session")
def stream_files(tmp_path_factory: pytest.TempPathFactory, rows_file: Path) -> dict[str, dict[str, Any]]:
    """A source of each stream: pairs, plain text, labelled texts of three classes, scored pairs."""
    folder = tmp_path_factory.mktemp("streams")
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    (folder / "text.txt").write_text("".join(f"{row['anchor']} . {row['positive']} .\n" for row in rows))
    classes = ("animal", "city", "school")
    labelled = [{"text": row["anchor"], "label": classes[i % 3]} for i, row in enumerate(rows)]
    scored = [{"sentence1": r["anchor"], "sentence2": r["positive"], "score": (7 * i) % 6} for i, r in enumerate(rows)]
    for name, lines in (("labelled", labelled), ("scored", scored)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {
        "pairs": {"name": "pairs", "file": str(rows_file), "kind": "pairs"},
        "text": {"name": "text", "file": str(folder / "text.txt"), "kind": "text"},
        "labelled": {"name": "labelled", "file": str(folder / "labelled.jsonl"), "kind": "labelled"},
        "scored": {"name": "scored", "file": str(folder / "scored.jsonl"), "kind": "scored"},
    }


@pytest.fixture
def everything(stream_files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Sections of a recipe with every stream, every objective but distill, learned factors and drawn layers."""
    return {
        "data": list(stream_files.values()),
        "objectives": [
            {"kind": "info_nce"},
            {"kind": "self_distill", "pair_weight": 1.0},
            {"kind": "mlm", "cut": "nested", "max_length": 16, "batch": 8},
            {"kind": "classify", "head": "mrl"},
            {"kind": "cosent"},
            {"kind": "score_distill", "range": [0, 5]},
        ],
        "weights": "learned",
        "layers": {"kind": "random"},
        "batch": {"size": 8, "max_length": 16, "chunk": 6},
        "stopping": {"steps": 6},
        "checkpoints": {"every": 2},
    }


@pytest.fixture
def still() -> Callable[[Path, Path], Path]:
    """still(model, to): a copy of the model without dropout, which draws other masks in two processes than in one."""

    def make(model: Path, to: Path) -> Path:
        shutil.copytree(model, to)
        config = json.loads((to / "config.json").read_text())
        without = config | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (to / "config.json").write_text(json.dumps(without))
        return to

    return make
