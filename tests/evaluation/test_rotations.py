"""Rotations in an evaluation: fitted on a task's own documents, or given; the numbers against plain numpy."""

import gzip
import json
import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from scipy.stats import spearmanr

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import DataError, ModelError, RecipeError
from matryoshka_text.evaluation import Evaluation, Plan, evaluate, plan_evaluation
from matryoshka_text.evaluation import rotations as corpus
from matryoshka_text.evaluation.rotations import Fit, Given
from matryoshka_text.evaluation.tasks.beir import read_beir
from matryoshka_text.rotation import FitSettings, Rotation
from matryoshka_text.rows import read_rows
from matryoshka_text.suite import Suite, TaskEntry

WORDS = "cat dog bank card money street guitar red blue woman man playing running sleeping house picture water".split()
DIMS = (4, 8, 32)
OWN = "rotation (fitted on the corpus)"
SUITE = Suite(
    name="turned",
    baselines=("rotation",),
    tasks=(TaskEntry(task="STSBenchmark"), TaskEntry(retrieval="pets"), TaskEntry(clustering="topics.jsonl")),
)


PETS = SUITE.model_copy(update={"tasks": SUITE.tasks[1:2]})


def with_topics(data: Path) -> Path:
    """The small data, and 24 texts of three topics to cluster."""
    rng = random.Random(5)
    lines = [
        json.dumps({"text": f"{WORDS[label]} {' '.join(rng.choices(WORDS, k=5))}", "label": f"topic-{label}"})
        for label in range(3)
        for _ in range(8)
    ]
    (data / "extra/topics.jsonl").write_text("\n".join(lines) + "\n")
    return data


@pytest.fixture
def data(small_data: Path) -> Path:
    return with_topics(small_data)


Calls = list[dict[str, np.ndarray]]


def noted(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The vectors of every call that learns a rotation, from now on, in a few steps."""
    calls: Calls = []
    original = corpus.learn

    def noting(vectors: Any, *arguments: Any, **settings: Any) -> Any:
        calls.append({name: np.array(rows) for name, rows in vectors.items()})
        return original(vectors, *arguments, **settings)

    monkeypatch.setattr(corpus, "learn", noting)
    few = FitSettings(steps=20, check_every=10)
    monkeypatch.setattr(Plan, "fit_of", lambda planned, subject: Fit(planned.dims_of(subject), few))
    return calls


@pytest.fixture(autouse=True)
def fitted(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return noted(monkeypatch)


@dataclass(frozen=True)
class Scored:
    data: Path
    found: Evaluation
    fitted: Calls


@pytest.fixture(scope="module")
def scored(tiny_model: Path, make_data: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """One evaluation of the suite that several tests look at."""
    place = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "datasets")
        calls = noted(patch)
        data = with_topics(make_data(place / "data"))
        return Scored(data, run(tiny_model, data, place / "out"), calls)


def run(model: Path, data: Path, out: Path, suite: Suite = SUITE, **settings: Any) -> Evaluation:
    return evaluate(model, suite, data_root=data, out=out, device="cpu", **{"dims": DIMS, **settings})


def label_of(found: Evaluation) -> str:
    return found.plan.subjects[0].label


def encoded_by(model: Path, texts: list[str]) -> np.ndarray:
    return np.asarray(MatryoshkaEncoder(str(model), device="cpu").encode(texts), dtype=np.float64)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ndcg_at_10(queries: np.ndarray, documents: np.ndarray, judged: dict[int, set[int]]) -> float:
    """x 100; the mean over judged queries of DCG over the best possible."""
    values = []
    for query, relevant in judged.items():
        ranked = sorted(range(len(documents)), key=lambda one: -float(queries[query] @ documents[one]))[:10]
        gain = sum(1 / math.log2(place + 2) for place, one in enumerate(ranked) if one in relevant)
        values.append(gain / sum(1 / math.log2(place + 2) for place in range(min(10, len(relevant)))))
    return 100 * sum(values) / len(values)


def pets(data: Path) -> tuple[list[str], list[str], dict[int, set[int]]]:
    """The documents as mteb joins them, the judged queries, and which documents are relevant to which."""
    found = read_beir(data / "extra/pets", "test")
    documents = [" ".join(filter(None, (one.get("title"), one["text"]))).strip() for one in found["corpus"]]
    places = {one["id"]: place for place, one in enumerate(found["corpus"])}
    queries = [one for one in found["queries"] if one["id"] in found["relevant_docs"]]
    judged = {place: {places[name] for name in found["relevant_docs"][one["id"]]} for place, one in enumerate(queries)}
    return documents, [one["text"] for one in queries], judged


def test_it_is_fitted_on_the_documents_alone(scored: Scored, tiny_model: Path) -> None:
    fitted = scored.fitted
    documents, queries, _ = pets(scored.data)
    texts = [json.loads(line)["text"] for line in (scored.data / "extra/topics.jsonl").read_text().splitlines()]
    assert [list(call) for call in fitted] == [["the documents of pets"], ["the documents of topics"]]
    for call, expected in zip(fitted, (documents, texts), strict=True):
        (vectors,) = call.values()
        np.testing.assert_allclose(vectors, encoded_by(tiny_model, list(dict.fromkeys(expected))), atol=1e-5)
    of_queries = encoded_by(tiny_model, queries)
    (of_pets,) = fitted[0].values()
    assert (np.abs(of_pets[:, None] - of_queries[None]).max(axis=2) > 1e-3).all()


def test_its_scores_are_those_of_the_rotated_prefixes(scored: Scored, tiny_model: Path) -> None:
    found = scored.found
    column = f"{label_of(found)} {OWN}"
    documents, queries, judged = pets(scored.data)
    rotation = [
        one
        for path in (found.out / "vectors/rotations").rglob("*.safetensors")
        if "pets" in str((one := Rotation.open(path)).record)
    ]
    assert len(rotation) == 1 and rotation[0].dims == DIMS
    turned = [encoded_by(tiny_model, texts) @ rotation[0].matrix for texts in (queries, documents)]
    for dim in (4, 8):
        expected = ndcg_at_10(*(unit(rows[:, :dim]) for rows in turned), judged)
        assert found.score("pets", dim, model=column) == pytest.approx(expected, abs=1e-2)
    both = [(task, dim) for task in ("pets", "topics") for dim in (4, 8)]
    assert any(found.score(task, dim, model=column) != found.score(task, dim) for task, dim in both)
    # A rotation changes no cosine at full width.
    for task in ("pets", "topics"):
        assert found.score(task, 32, model=column) == found.score(task, 32)


def test_other_kinds_of_task_have_no_such_column_and_it_is_no_failure(scored: Scored) -> None:
    found = scored.found
    assert found.failures == ()
    column = f"{label_of(found)} {OWN}"
    with pytest.raises(KeyError):
        found.score("STSBenchmark", 4, model=column)
    sts, retrieval, clustering, mean = found.tables()
    place = sts.labels.index(column)
    assert sts.cells[place] == {} == mean.cells[place]
    assert set(retrieval.cells[place]) == set(clustering.cells[place]) == set(DIMS)
    assert mean.note.endswith(f"over 3 of 3 tasks; none of {column}: some kinds of task have no corpus")
    for name in ("results.md", "report.html", "table.txt"):
        assert "(fitted on the corpus)" in (found.out / name).read_text()
    assert "rotation: fitted on each task's own documents" in (found.out / "results.md").read_text()


def test_rows_say_what_it_was_fitted_on_and_for(scored: Scored) -> None:
    found = scored.found
    rows = [row for row in found.rows if row.method == "rotation"]
    assert {(row.task, row.dim) for row in rows} == {(task, dim) for task in ("pets", "topics") for dim in DIMS}
    assert len({row.sample for row in rows if row.task == "pets"}) == 1
    assert len({row.sample for row in rows}) == 2 and None not in {row.sample for row in rows}
    assert {row.rotation for row in rows} == {Fit(DIMS, FitSettings(steps=20, check_every=10)).digest}
    assert all(row.rotation is None for row in found.rows if row.method != "rotation")
    names = {path.name for path in (found.out / "results").rglob("experiments/*")}
    assert any("reduction_rotation" in name and "rotation_" in name for name in names)


def test_a_second_run_fits_nothing_and_lost_rows_take_the_rotation_from_disk(
    data: Path, tiny_model: Path, tmp_path: Path, fitted: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(tiny_model, data, tmp_path / "out", PETS)
    second = run(tiny_model, data, tmp_path / "out", PETS)
    assert [stage.note for stage in second.stages] == ["scored before"] and second.rows == first.rows
    (tmp_path / "out/rows.jsonl").unlink()
    third = run(tiny_model, data, tmp_path / "out", PETS)
    assert len(fitted) == 1
    assert [row.score for row in third.rows] == [row.score for row in first.rows]
    # Other dims are another rotation, and rows of their own.
    run(tiny_model, data, tmp_path / "out", PETS, dims=(4, 16))
    assert len(fitted) == 2
    keys = [row.key for row in read_rows(tmp_path / "out/rows.jsonl") if row.method == "rotation" and row.dim == 4]
    assert len(keys) == len(set(keys)) == 2
    # What was damaged is fitted again, and gives the same.
    for path in (tmp_path / "out/vectors/rotations").rglob("*.safetensors"):
        path.write_bytes(b"no rotation")
    (tmp_path / "out/rows.jsonl").unlink()
    with caplog.at_level(logging.WARNING):
        again = run(tiny_model, data, tmp_path / "out", PETS)
    assert len(fitted) == 3 and "it is fitted again" in caplog.text
    assert [row.score for row in again.rows] == [row.score for row in first.rows]


def test_it_is_made_of_the_model_against(data: Path, tiny_model: Path, other_model: Path, tmp_path: Path) -> None:
    found = run(tiny_model, data, tmp_path / "out", PETS, dims=(4,), against=[other_model])
    assert {row.weights for row in found.rows if row.method == "rotation"} == {found.plan.subjects[1].weights}


def test_too_small_a_corpus_fails_for_the_rotation_alone(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    lines = (data / "extra/topics.jsonl").read_text().splitlines()
    (data / "extra/topics.jsonl").write_text("\n".join([*lines[:2], *lines[8:10]]) + "\n")
    found = run(tiny_model, data, tmp_path / "out", partial=True)
    (failure,) = found.failures
    assert failure.task == "topics"
    assert "rotation: found 4 different documents; allowed: at least 6, two neighbourhoods" in failure.reason
    assert {row.method for row in found.rows if row.task == "topics"} == {"first"}
    assert {row.method for row in found.rows if row.task == "pets"} == {"first", "rotation"}


def test_candidates_to_rerank_are_documents_encoded_once_with_their_own_prompt(
    tiny_model: Path, tmp_path: Path, fitted: Calls, encoded: list[str]
) -> None:
    rng = random.Random(0)
    rows = [
        {"query": f"{WORDS[query]} asked", "document": f"{' '.join(rng.choices(WORDS, k=5))} {query} {place}"}
        | {"label": int(place == 0)}
        for query in range(5)
        for place in range(4)
    ]
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra/ranked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entries = (TaskEntry(reranking="ranked.jsonl"),)
    suite = SUITE.model_copy(update={"tasks": entries, "prompts": {"document": "passage: ", "query": "query: "}})
    found = run(tiny_model, tmp_path, tmp_path / "out", suite, dims=(4,))
    assert [{name: len(rows) for name, rows in call.items()} for call in fitted] == [{"the documents of ranked": 20}]
    assert len(encoded) == len(set(encoded)) == 25
    assert {(row.method, row.dim) for row in found.rows} == {
        (method, dim) for method in ("first", "rotation") for dim in (4, 32)
    }


@pytest.fixture
def given(tmp_path: Path) -> Path:
    matrix = np.linalg.qr(np.random.default_rng(1).normal(size=(32, 32)))[0]
    Rotation(matrix, DIMS).save(tmp_path / "R.safetensors")
    return tmp_path / "R.safetensors"


def test_a_given_rotation_is_a_column_of_every_task(
    data: Path, tiny_model: Path, other_model: Path, tmp_path: Path, given: Path
) -> None:
    suite = SUITE.model_copy(update={"baselines": ()})
    found = run(tiny_model, data, tmp_path / "out", suite, rotation=given, against=[other_model])
    column = f"{label_of(found)} rotated (R.safetensors)"
    rows = [row for row in found.rows if row.method == "rotated"]
    assert {(row.task, row.dim) for row in rows} == {
        (task, dim) for task in ("STSBenchmark", "pets", "topics") for dim in DIMS
    }
    assert {row.weights for row in rows} == {found.plan.subjects[0].weights}
    assert {row.rotation for row in rows} == {Given("", Rotation.open(given)).digest}
    matrix = Rotation.open(given).matrix
    lines = (json.loads(line) for line in gunzipped(data / "mteb/mteb__stsbenchmark-sts/test.jsonl.gz"))
    first, second, gold = zip(*((one["sentence1"], one["sentence2"], one["score"]) for one in lines), strict=True)
    turned = [encoded_by(tiny_model, list(texts)) @ matrix for texts in (first, second)]
    for dim in DIMS:
        cosines = np.sum(unit(turned[0][:, :dim]) * unit(turned[1][:, :dim]), axis=1)
        expected = 100 * float(spearmanr(cosines, gold)[0])
        assert found.score("STSBenchmark", dim, model=column) == pytest.approx(expected, abs=0.05)
    assert found.score("STSBenchmark", 32, model=column) == pytest.approx(found.score("STSBenchmark", 32), abs=0.05)
    assert found.score("STSBenchmark", 4, model=column) != found.score("STSBenchmark", 4)
    mean = found.tables()[-1]
    assert column in mean.labels and set(mean.cells[mean.labels.index(column)]) == set(DIMS)
    assert "fitted on the corpus" not in (tmp_path / "out/results.md").read_text()
    assert "times R.safetensors (width 32, sha256 of the matrix" in (tmp_path / "out/results.md").read_text()


def gunzipped(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def test_another_given_rotation_is_scored_anew(data: Path, tiny_model: Path, tmp_path: Path, given: Path) -> None:
    suite = SUITE.model_copy(update={"baselines": (), "tasks": SUITE.tasks[:1]})
    one = run(tiny_model, data, tmp_path / "out", suite, rotation=given)
    same = run(tiny_model, data, tmp_path / "out", suite, rotation=Rotation.open(given))
    assert [stage.note for stage in same.stages] == ["scored before"]
    other = run(tiny_model, data, tmp_path / "out", suite, rotation=Rotation(np.eye(32), DIMS))
    assert [stage.note for stage in other.stages] == ["3 of 6 scored before"]
    label = label_of(one)
    for dim in DIMS:
        # The identity turns nothing.
        assert other.score("STSBenchmark", dim, model=f"{label} rotated (rotation)") == pytest.approx(
            other.score("STSBenchmark", dim), abs=1e-3
        )


def test_a_rotation_that_does_not_fit_is_told_before_anything_is_encoded(
    data: Path, tiny_model: Path, tmp_path: Path, given: Path, encoded: list[str]
) -> None:
    Rotation(np.eye(16), (4,)).save(tmp_path / "narrow.safetensors")
    with pytest.raises(ModelError, match=r"--rotation: narrow\.safetensors turns vectors of width 16, but .* width 32"):
        run(tiny_model, data, tmp_path / "out", rotation=tmp_path / "narrow.safetensors")
    with pytest.raises(DataError, match="there is no such file"):
        run(tiny_model, data, tmp_path / "out", rotation=tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="--rotation: no model given"):
        plan_evaluation(None, SUITE, data_root=data, rotation=given)
    texts = Suite(name="texts", tasks=(TaskEntry(masked_text="words.txt"),))
    (tmp_path / "words.txt").write_text("a cat and a dog\n")
    with pytest.raises(RecipeError, match="masked text only"):
        plan_evaluation(tiny_model, texts.model_copy(update={"folder": tmp_path}), data_root=tmp_path, rotation=given)
    assert encoded == []
