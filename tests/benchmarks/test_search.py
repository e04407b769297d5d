"""The search benchmark with generated vectors, and the planning page that is made from measured figures."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("faiss")


@pytest.fixture
def benchmark(repo: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repo / "benchmarks"))
    return importlib.import_module("search_prefixes")


def test_quality_by_hand(benchmark: ModuleType) -> None:
    found = np.array([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]])
    ndcg, precision = benchmark.quality(found, [{2, 4}])
    assert ndcg == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / (1 + 1 / np.log2(3)))
    assert precision == pytest.approx((1 / 2 + 2 / 4) / 10)
    assert benchmark.quality(found, [set()]) == (0, 0)


def test_ranks_count_rows_before(benchmark: ModuleType) -> None:
    rows = np.eye(4, dtype=np.float32) + 0.1
    asked = np.array([[4.0, 3.0, 2.0, 1.0]], dtype=np.float32)
    assert benchmark.ranks(rows, asked, np.array([[0, 2, 3]]), 4).tolist() == [[0, 2, 3]]


def test_the_planning_page_is_made_from_the_measured_figures(benchmark: ModuleType, repo: Path) -> None:
    planning = importlib.import_module("planning")
    found = json.loads((repo / "benchmarks" / "planning.json").read_text(encoding="utf-8"))
    assert planning.page(found) == (repo / "docs" / "guides" / "planning.md").read_text(encoding="utf-8")
    line = {"bytes": 32, "scan_ns": 1.0}
    assert planning.machines(line, 10**10) == 7
    assert planning.seconds(line, 10**10) == pytest.approx(10 / (7 * planning.CORES))
    assert planning.size(3.2e11) == "320 GB"


@pytest.mark.slow
def test_it_runs_with_generated_vectors(repo: Path) -> None:
    command = [sys.executable, str(repo / "benchmarks" / "search.py"), "--tiny"]
    environment = {**os.environ, "PYTHONPATH": str(repo / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("| exact flat float32 |", "| ours, tuned |", "| Panorama |", "bar memory", "nDCG@10 kept at 8 dims"):
        assert words in done.stdout
