"""`mtext eval` killed with SIGKILL at several moments, and two at once in one folder."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from matryoshka_text.rows import Row, latest_rows, read_rows
from tests.killing import kill_when

SUITE = """name: own
data: data
dims: [8, 16]
tasks: [{task: STSBenchmark}, {task: SICK-R}]
"""
PAIRS = 900


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    words = [f"{one}{two}" for one in "cat dog bank card money street guitar".split() for two in " s d y r t".split()]
    for number, name in enumerate(("mteb__stsbenchmark-sts", "mteb__sickr-sts")):
        rng = random.Random(number)
        rows = [
            {f"sentence{side}": " ".join(rng.choices(words, k=12)) for side in (1, 2)} | {"score": rng.random()}
            for _ in range(PAIRS)
        ]
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.yaml").write_text(SUITE)
    return tmp_path


def start(model: Path, folder: Path, out: str) -> "subprocess.Popen[str]":
    settings = {**os.environ, "HF_DATASETS_CACHE": str(folder / "datasets"), "HF_HUB_OFFLINE": "1"}
    settings.pop("MTEXT_DATA_ROOT", None)
    command = [sys.executable, "-m", "matryoshka_text", "eval", str(model), "--suite", "own.yaml", "--out", out]
    return subprocess.Popen(
        command, cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate()
    assert process.returncode == 0, err + out
    return err


def cells(rows: list[Row]) -> dict[tuple[str, int], float]:
    return {(row.task, row.dim): row.score for row in rows}


def test_killed_twice_it_goes_on_where_it_was(folder: Path, tiny_model: Path) -> None:
    vectors, results = folder / "out/vectors", folder / "out/results"
    kill_when(start(tiny_model, folder, "out"), lambda: len(list(vectors.rglob("*.safetensors"))) >= 2)
    kept = len(list(vectors.rglob("*.safetensors")))
    kill_when(start(tiny_model, folder, "out"), lambda: len(list(results.rglob("STSBenchmark.json"))) >= 2)
    said = finish(start(tiny_model, folder, "out"))
    encoded = [int(number) for number in re.findall(r"\((\d[\d,]*) texts", said.replace(",", ""))]
    assert kept >= 2
    assert encoded[0] == 0  # all of the first task was encoded before the second kill
    assert "STSBenchmark" in said and "scored before" in said.splitlines()[0]
    whole = finish(start(tiny_model, folder, "alone"))
    assert "scored before" not in whole
    again, alone = read_rows(folder / "out/rows.jsonl"), read_rows(folder / "alone/rows.jsonl")
    assert cells(latest_rows(again)) == pytest.approx(cells(alone), abs=1e-3)
    assert not list((folder / "out").rglob("*.json.*.part"))


def test_two_at_once_in_one_folder_lose_nothing(folder: Path, tiny_model: Path, other_model: Path) -> None:
    both = [start(model, folder, "out") for model in (tiny_model, tiny_model, other_model)]
    for process in both:
        finish(process)
    rows = read_rows(folder / "out/rows.jsonl")
    by_model = {one: cells([row for row in rows if row.weights == one]) for one in {row.weights for row in rows}}
    assert len(by_model) == 2
    assert all(len(found) == 6 for found in by_model.values())
    finish(start(other_model, folder, "alone"))
    alone = read_rows(folder / "alone/rows.jsonl")
    assert by_model[alone[0].weights] == pytest.approx(cells(alone), abs=1e-3)
