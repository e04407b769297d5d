"""What every attack begins with: a tiny model, rows, recipes, and a run, an encoding and a rotation to damage."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.attack.forked import run

SUBJECTS = "cat dog man woman father mother child animal boy people".split()
PLACES = "house street water light city land school world".split()


@dataclass(frozen=True)
class World:
    """Folders and files that attacks copy and never change."""

    home: Path

    @property
    def model(self) -> Path:
        return self.home / "model"

    def recipe(self, name: str) -> dict[str, Any]:
        """The recipe of that name, with absolute paths."""
        common = {
            "name": name,
            "base": {"model": str(self.model)},
            "dims": [8, 32],
            "batch": {"size": 8, "max_length": 16},
            "optimizer": {"learning_rate": 1e-4, "warmup": 0.1, "weight_decay": 0.01},
            "stopping": {"steps": 4},
            "checkpoints": {"every": 2, "keep": 2},
            "precision": "float32",
            "seed": 1,
        }
        return {**common, **self._sections()[name]}

    def names(self) -> list[str]:
        """The recipes there are."""
        return list(self._sections())

    def _sections(self) -> Mapping[str, dict[str, Any]]:
        def source(kind: str, file: str, **more: Any) -> dict[str, Any]:
            return {"name": "rows", "file": str(self.home / file), "kind": kind, **more}

        pairs = source("pairs", "pairs.jsonl")
        return {
            "pairs": {"data": [pairs], "objectives": [{"kind": "info_nce", "temperature": 0.05}]},
            "labelled": {"data": [source("labelled", "labelled.csv")], "objectives": [{"kind": "classify"}]},
            "scored": {"data": [source("scored", "scored.jsonl")], "objectives": [{"kind": "cosent"}]},
            "text": {"data": [source("text", "texts.txt")], "objectives": [{"kind": "mlm", "batch": 4}]},
            "lora": {
                "data": [pairs],
                "lora": {"rank": 2, "alpha": 4, "dropout": 0.1},
                "objectives": [{"kind": "info_nce"}, {"kind": "self_distill", "pair_weight": 1.0}],
            },
            "rotation": {
                "data": [pairs],
                "rotation": {"steps": 5, "texts": 70, "anchors": 16, "neighbours": 4},
                "objectives": [{"kind": "distill", "temperature": 0.05}],
            },
        }


def rows(count: int = 80) -> Iterator[dict[str, Any]]:
    """Pairs of unlike texts with a label and a score."""
    for i in range(count):
        subject, place = SUBJECTS[i % 10], PLACES[i // 10 % 8]
        yield {
            "anchor": f"the {subject} is in the {place} {i}",
            "positive": f"a {subject} at this {place}, number {i}",
            "label": PLACES[i % 3],
            "score": i % 6,
        }


def make_world(home: Path) -> World:
    """The world in `home`; what is there already is kept."""
    world = World(home)
    if (home / "done").exists():
        return world
    home.mkdir(parents=True, exist_ok=True)
    made = list(rows())
    _lines(home / "pairs.jsonl", [{k: row[k] for k in ("anchor", "positive")} for row in made])
    _lines(
        home / "scored.jsonl",
        [{"sentence1": r["anchor"], "sentence2": r["positive"], "score": r["score"]} for r in made],
    )
    labelled = "".join(f"{row['anchor']},{row['label']}\n" for row in made)
    (home / "labelled.csv").write_text("text,label\n" + labelled)
    (home / "texts.txt").write_text("".join(f"{row['anchor']}\n" for row in made))
    (home / "few.txt").write_text("".join(f"{row['anchor']}\n" for row in made[:12]))
    root = home / "root" / "extra"
    root.mkdir(parents=True)
    split = ("train", "test")
    splits = "".join(f"{row['anchor']},{row['label']},{split[i % 2]}\n" for i, row in enumerate(made))
    (root / "places.csv").write_text("text,label,split\n" + splits)
    for name in world.names():
        (home / f"{name}.yaml").write_text(yaml.safe_dump(world.recipe(name), sort_keys=False))
    _forked(lambda: _tiny(home), home)
    (home / "done").write_text("")
    return world


def _tiny(home: Path) -> None:
    from tests.tiny import tiny_model

    tiny_model(home)


def _forked(work: Any, home: Path) -> None:
    """Done in a child, so that no thread starts here."""

    def before() -> None:
        work()
        raise SystemExit(0)

    outcome = run([], home, before)
    assert outcome.status == 0, outcome.said


def _lines(path: Path, found: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
