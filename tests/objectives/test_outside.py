"""An objective that another package brings: its module, named as an entry point, and a recipe are all it takes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

MODULE = '''
from typing import Literal

from pydantic import Field

from matryoshka_text.objectives import VectorObjective


class Apart(VectorObjective):
    """The mean cosine of the two columns of pairs, at every prefix."""

    reads = "pairs"

    kind: Literal["apart"] = Field(description="picks this objective")
    power: int = Field(default=1, ge=1, description="of the cosine")

    def loss(self, batch, nesting):
        import torch

        from matryoshka_text.nested import NestedLoss

        mine = slice(batch.first, batch.last)
        first, second = batch.student[0, mine], batch.student[1, mine]
        each = [
            (torch.cosine_similarity(first[:, :m], second[:, :m]) ** self.power).sum() / batch.student.shape[1]
            for m in nesting.dims
        ]
        per_dim = torch.stack(each)
        return NestedLoss((nesting.weights * per_dim).sum(), per_dim.detach())
'''


def _run(*words: str, plugins: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(plugins), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "matryoshka_text", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths},
        timeout=300,
    )


def test_an_objective_from_another_package_trains(
    tmp_path: Path, tiny_model: Path, rows_of_pairs: Callable[[Path], Path]
) -> None:
    plugins = tmp_path / "plugins"
    (plugins / "apart-1.0.dist-info").mkdir(parents=True)
    (plugins / "apart.py").write_text(MODULE)
    (plugins / "apart-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: apart\nVersion: 1.0\n")
    (plugins / "apart-1.0.dist-info" / "entry_points.txt").write_text("[matryoshka_text.objectives]\napart = apart\n")
    recipe = {
        "name": "apart",
        "base": {"model": str(tiny_model)},
        "dims": [4, 32],
        "data": [{"name": "rows", "file": str(rows_of_pairs(tmp_path)), "kind": "pairs"}],
        "objectives": [{"kind": "apart", "power": 2, "weight": 0.5}, {"kind": "info_nce"}],
        "batch": {"size": 4},
        "stopping": {"steps": 2},
        "precision": "float32",
    }
    (tmp_path / "apart.yaml").write_text(yaml.safe_dump(recipe))

    done = _run("train", "apart.yaml", "--out", "run", plugins=plugins, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(set(line["per_dim"]) == {"apart", "info_nce"} for line in lines)
    assert (tmp_path / "run" / "model" / "modules.json").is_file()

    recipe["objectives"][0]["power"] = 0
    (tmp_path / "apart.yaml").write_text(yaml.safe_dump(recipe))
    wrong = _run("check", "apart.yaml", plugins=plugins, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "objectives[0].power: found 0; allowed: a whole number of at least 1" in wrong.stdout

    unknown = _run("check", "apart.yaml", plugins=tmp_path / "none", cwd=tmp_path)
    assert "objectives[0]: found 'apart'; allowed: kind " in unknown.stdout
