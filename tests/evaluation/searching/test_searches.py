"""`evaluate(search=True)` on small data, against loops in float64."""

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from matryoshka_text.errors import DataError, ExtraMissing, RecipeError
from matryoshka_text.evaluation import Evaluation, Plan, evaluate, plan_evaluation
from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.rotations import Fit
from matryoshka_text.evaluation.scoring.items import items_path, read_items
from matryoshka_text.evaluation.searching import bench
from matryoshka_text.evaluation.searching.judged import quality
from matryoshka_text.evaluation.searching.rows import SearchRow
from matryoshka_text.rotation import FitSettings
from matryoshka_text.rows import read_lines
from matryoshka_text.search.structures import faiss
from matryoshka_text.suite import Suite, TaskEntry
from tests.evaluation.conftest import WORDS, write_data, write_lines

DIMS = (4, 8, 16, 32)
SUITE = Suite(name="searched", tasks=(TaskEntry(task="STSBenchmark"), TaskEntry(retrieval="shelf")))


def fewer_steps(planned: Plan, subject: Subject) -> Fit:
    return Fit(planned.dims_of(subject), FitSettings(steps=20, check_every=10))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "fit_of", fewer_steps)


def with_shelf(data: Path) -> Path:
    """300 documents, some of them twice, and 40 queries with one to three judgements."""
    draw = random.Random(1)
    folder = data / "extra/shelf"
    texts = [" ".join(draw.choices(WORDS, k=9)) for _ in range(290)]
    texts += texts[:10]
    write_lines(folder / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)])
    write_lines(folder / "queries.jsonl", [{"_id": f"q{n}", "text": " ".join(texts[n].split()[:6])} for n in range(40)])
    (folder / "qrels").mkdir()
    judged = [(n, m) for n in range(40) for m in {n, *draw.choices(range(300), k=n % 3)}]
    lines = "".join(f"q{n}\td{m}\t{1 + (n != m)}\n" for n, m in judged)
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return data


@pytest.fixture
def shelf(small_data: Path) -> Path:
    return with_shelf(small_data)


def run(model: Path, data: Path, out: Path, **settings: Any) -> Evaluation:
    return evaluate(model, SUITE, data_root=data, out=out, device="cpu", dims=DIMS, search=True, **settings)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searched")


@pytest.fixture(scope="module")
def found(home: Path, tiny_model: Path) -> Evaluation:
    """One evaluation that several tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MTEXT_DATA_ROOT", "MTEXT_VECTOR_STORE"):
            patch.delenv(name, raising=False)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
        patch.setattr(Plan, "fit_of", fewer_steps)
        return run(tiny_model, with_shelf(write_data(home / "data")), home / "out", baselines=["rotation"])


def own(found: Evaluation) -> dict[str, SearchRow]:
    return {row.name: row for row in found.searched if row.rotation is None}


class Oracle:
    """Everything by loops in float64, from the model's vectors and the files of judgements."""

    def __init__(self, model: Path, data: Path) -> None:
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(str(model), device="cpu")
        folder = data / "extra/shelf"
        corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
        queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
        self.ids = [row["_id"] for row in corpus]
        self.documents = encoder.encode([row["text"] for row in corpus]).astype(np.float64)
        self.queries = dict(
            zip(
                [row["_id"] for row in queries],
                encoder.encode([row["text"] for row in queries]).astype(np.float64),
                strict=True,
            )
        )
        self.judged: dict[str, dict[str, int]] = {}
        for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
            query, document, value = line.split("\t")
            self.judged.setdefault(query, {})[document] = int(value)

    def cosines(self, query: str, dim: int) -> np.ndarray:
        one, all_rows = self.queries[query][:dim], self.documents[:, :dim]
        # Duplicates differ in the last bits of a model's batches.
        return np.round(all_rows @ one / np.linalg.norm(all_rows, axis=1) / np.linalg.norm(one), 6)

    def ranked(self, query: str, stages: list[tuple[int, int]]) -> list[str]:
        left = list(range(len(self.ids)))
        for dim, keep in stages:
            scores = self.cosines(query, dim)
            left = sorted(left, key=lambda row: (scores[row], self.ids[row]), reverse=True)[:keep]
        return [self.ids[row] for row in left]

    def scores(self, stages: list[tuple[int, int]]) -> dict[str, float]:
        sums = {"ndcg": 0.0, "map": 0.0, "top1": 0.0, "recall": 0.0}
        for query, judged in self.judged.items():
            names = self.ranked(query, stages)
            gains = [judged.get(name, 0) for name in names]
            ideal = sorted(judged.values(), reverse=True)[:10]
            dcg = [sum(gain / math.log2(place + 2) for place, gain in enumerate(line)) for line in (gains, ideal)]
            sums["ndcg"] += dcg[0] / dcg[1]
            precisions = [sum(gain > 0 for gain in gains[: i + 1]) / (i + 1) for i in range(len(gains))]
            sums["map"] += sum(p for p, gain in zip(precisions, gains, strict=True) if gain > 0) / 10
            sums["top1"] += gains[0] > 0
            full = self.cosines(query, 32)
            least = sorted(full)[-10]
            sums["recall"] += sum(full[self.ids.index(name)] >= least for name in names) / 10
        return {name: 100 * value / len(self.judged) for name, value in sums.items()}


def test_quality_is_the_oracles(found: Evaluation, home: Path, tiny_model: Path) -> None:
    oracle = Oracle(tiny_model, home / "data")
    ways = {f"{dim} dims": [(dim, 10)] for dim in DIMS}
    ways |= {f"{dim} dims, keep 200": [(dim, 200), (32, 10)] for dim in DIMS[:-1]}
    ways["funnel 200, 4-8-16-32"] = [(4, 200), (8, 100), (16, 50), (32, 10)]
    rows = own(found)
    for name, stages in ways.items():
        right = oracle.scores(stages)
        for measure, value in right.items():
            assert getattr(rows[name], measure) == pytest.approx(value, abs=0.3), (name, measure)
    assert rows["32 dims"].recall == 100
    assert rows["4 dims"].recall < 90


def test_map_is_divided_by_k_as_in_the_paper() -> None:
    judged = {"a": {"x": 1, "y": 2, "z": 1}, "b": {"u": 1}}
    seen = quality({"a": {"x": 0.9, "n": 0.8, "y": 0.7}, "b": {"n": 0.5, "u": 0.4}}, judged, 10)
    assert seen.map == pytest.approx(((1 + 2 / 3) / 10 + (1 / 2) / 10) / 2, abs=1e-12)
    assert seen.top1 == 0.5
    # A query that finds nothing counts as 0.
    assert quality({"a": {"x": 0.9}, "b": {}}, judged, 10).map == pytest.approx(0.05)


def test_single_shots_are_the_evaluations_own_scores(found: Evaluation) -> None:
    scored = [row for row in found.rows if row.task == "shelf"]
    assert {row.method for row in scored} == {"first", "rotation"}
    checked = 0
    for row in scored:
        rotation = row.rotation if row.method == "rotation" else None
        same = [
            one for one in found.searched if one.kind == "single" and (one.dim, one.rotation) == (row.dim, rotation)
        ]
        if row.method == "rotation" and row.dim == 32:
            assert not same
            continue
        items = read_items(items_path(found.out, row))
        assert items is not None
        # The row's own score is rounded, as mteb rounds it; its items are not.
        assert same[0].ndcg / 100 == pytest.approx(float(items.parts[0].values.mean()), abs=1e-9)
        assert same[0].ndcg == pytest.approx(row.score, abs=1e-3)
        checked += 1
    assert checked == 7


def test_work_and_bytes_by_hand(found: Evaluation) -> None:
    rows = own(found)
    assert rows["8 dims"].mflops == 300 * 8 / 1e6 and rows["8 dims"].bytes_read == 300 * 8 * 4
    assert rows["8 dims, keep 200"].mflops == (300 * 8 + 200 * 32) / 1e6
    assert rows["8 dims int8, keep 200"].bytes_read == 300 * 8 + 200 * 32 * 4
    bits = rows["8 dims binary, keep 200"]
    assert (bits.mflops, bits.bytes_read) == (None, 300 + 200 * 32 * 4)
    funnel = rows["funnel 800, 4-8-16-32"]
    assert funnel.mflops == (300 * 4 + 300 * 8 + 300 * 16 + 200 * 32) / 1e6
    lists = rows["AdANNS 8 dims, 1 of 7 lists"]
    assert lists.lists is not None and lists.mflops == (7 * 8 + lists.lists.read * 32) / 1e6
    every = rows["AdANNS 8 dims, 7 of 7 lists"]
    assert every.lists is not None and every.lists.read == 300
    assert every.ndcg == pytest.approx(rows["32 dims"].ndcg, abs=0.3) and every.recall == 100
    assert all(row.threads == 1 and row.milliseconds > 0 for row in found.searched)


def test_the_tuned_plan_says_on_what(found: Evaluation, shelf: Path, tiny_model: Path, tmp_path: Path) -> None:
    tuned = own(found)["recall 0.99"]
    assert tuned.plan is not None and tuned.plan.measured is not None
    assert tuned.note == "tuned on half of 40 queries" and not tuned.plan.measured.stand_ins
    few = shelf / "extra/shelf/qrels/test.tsv"
    few.write_text("".join(few.read_text().splitlines(keepends=True)[:6]))
    tuned = own(run(tiny_model, shelf, tmp_path / "few"))["recall 0.99"]
    assert tuned.plan is not None and tuned.plan.measured is not None
    assert tuned.note == "tuned on documents in place of queries" and tuned.plan.measured.stand_ins


def test_nothing_is_encoded_or_done_twice(
    shelf: Path, tiny_model: Path, tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    evaluate(tiny_model, SUITE, data_root=shelf, out=out, device="cpu", dims=DIMS)
    encoded.clear()
    first = run(tiny_model, shelf, out)
    assert encoded == []
    assert list(first.searched) == read_lines(out / "search.jsonl", SearchRow)

    seen: list[str] = []
    original: Callable[..., Any] = bench.Bench.see
    monkeypatch.setattr(bench.Bench, "see", lambda self, one: (seen.append(one.name), original(self, one))[1])
    assert run(tiny_model, shelf, out).searched == first.searched
    assert seen == []
    # A kill leaves whole lines: only what is missing is done.
    lines = (out / "search.jsonl").read_text().splitlines(keepends=True)
    (out / "search.jsonl").write_text("".join(lines[:-3]))
    again = run(tiny_model, shelf, out)
    assert len(seen) == 3 and again.searched[:-3] == first.searched[:-3]


def test_rotated_ways_are_never_mixed_with_the_models_own(found: Evaluation) -> None:
    kinds = {row.rotation is None for row in found.searched}
    assert kinds == {True, False}
    page, table = ((found.out / name).read_text() for name in ("report.html", "search.md"))
    for text in (page, table):
        assert "shelf · " in text and "rotated (fitted on the corpus)" in text
    parts = table.split("### ")[1:]
    assert ["rotated" in part.splitlines()[0] for part in parts] == [False, True]
    assert "single shot, 32 dims" in parts[0] and "single shot, 32 dims" not in parts[1]
    assert (found.out / "search.png").is_file() and page.count("milliseconds a query (log scale)") == 2


def test_a_search_that_fails_costs_no_score(
    shelf: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, contender: object) -> None:
        raise DataError("this index is no use")

    monkeypatch.setattr(bench.Bench, "see", broken)
    found = run(tiny_model, shelf, tmp_path / "out", partial=True)
    assert {row.task for row in found.rows} == {"STSBenchmark", "shelf"}
    assert [str(one) for one in found.failures] == [
        f"shelf · {found.plan.subjects[0].label}: search: this index is no use"
    ]


def test_what_is_refused_before_anything_is_encoded(
    shelf: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[str]
) -> None:
    with pytest.raises(RecipeError, match="allowed: a suite with a task of type Retrieval"):
        plan_evaluation(tiny_model, SUITE.model_copy(update={"tasks": SUITE.tasks[:1]}), data_root=shelf, search=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/search.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"search\.jsonl:1: model: Field required"):
        run(tiny_model, shelf, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "faiss", None)
    faiss.cache_clear()
    with pytest.raises(ExtraMissing, match=r"matryoshka-text\[search\]"):
        run(tiny_model, shelf, tmp_path / "none")
    assert encoded == []


def test_as_a_process(shelf: Path, tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "matryoshka_text", "eval", str(tiny_model), "--task", "retrieval:pets", "--search"]
    command += ["--data-root", str(shelf), "--dims", "8,32", "--out", str(tmp_path / "out")]
    surroundings = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "search.jsonl, search.md" in done.stdout and "pets" in done.stderr
    rows = read_lines(tmp_path / "out/search.jsonl", SearchRow)
    # 25 documents: too few for lists; 8 queries: too few to tune on.
    assert {row.kind for row in rows} == {"single", "adaptive", "funnel", "tuned"}
    again = subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=tmp_path)
    assert again.returncode == 0 and read_lines(tmp_path / "out/search.jsonl", SearchRow) == rows
