"""The plan carried out: what stops it, what does not, and what is let go of."""

import errno
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matryoshka_text.errors import DataError, EvaluationError, RunError
from matryoshka_text.evaluation import evaluate
from matryoshka_text.evaluation import run as running
from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.scoring import score as scoring
from matryoshka_text.rows import read_rows
from matryoshka_text.suite import Suite, TaskEntry

SUITE = Suite(
    name="small",
    tasks=(TaskEntry(task="STSBenchmark"), TaskEntry(task="Banking77Classification"), TaskEntry(retrieval="pets")),
    dims=(8,),
)


def test_a_full_disk_stops_everything_and_keeps_what_was_scored(
    small_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = scoring.save_result

    def full(out: Path, result: Any, *rest: Any, **settings: Any) -> Path:
        if result.task_name == "Banking77Classification":
            raise OSError(errno.ENOSPC, "No space left on device", str(out / "results"))
        return original(out, result, *rest, **settings)

    monkeypatch.setattr(scoring, "save_result", full)
    with pytest.raises(RunError, match=r"results: the disk is full .*; what was scored before is kept: free some"):
        evaluate(tiny_model, SUITE, data_root=small_data, out=tmp_path / "out", device="cpu")
    assert {row.task for row in read_rows(tmp_path / "out/rows.jsonl")} == {"STSBenchmark"}
    monkeypatch.setattr(scoring, "save_result", original)
    found = evaluate(tiny_model, SUITE, data_root=small_data, out=tmp_path / "out", device="cpu")
    assert [stage.note for stage in found.stages] == ["scored before", "", ""]
    assert [stage.encoded for stage in found.stages] == [0, 0, 33]


def test_the_data_of_a_task_are_loaded_once_and_let_go_of_with_it(
    small_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[Any]] = []
    left: list[int] = []
    load, score = running._load, scoring.Scorer.rows

    def watched(task: Any) -> Any:
        loaded = load(task)
        alive.append(weakref.ref(loaded))
        return loaded

    def counted(self: Any, view: Any) -> Any:
        gc.collect()
        left.append(sum(one() is not None for one in alive))
        return score(self, view)

    monkeypatch.setattr(running, "_load", watched)
    monkeypatch.setattr(scoring.Scorer, "rows", counted)
    evaluate(tiny_model, SUITE, data_root=small_data, out=tmp_path / "out", device="cpu", against=[])
    assert len(alive) == 3
    # Two views of each task.
    assert left == [3, 3, 2, 2, 1, 1]


def failing_on(monkeypatch: pytest.MonkeyPatch, task: str, error: Exception) -> None:
    original = scoring.save_result

    def failing(out: Path, result: Any, *rest: Any, **settings: Any) -> Path:
        if result.task_name == task:
            raise error
        return original(out, result, *rest, **settings)

    monkeypatch.setattr(scoring, "save_result", failing)


def test_a_bug_surfaces_with_its_traceback_after_the_other_tasks(
    small_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_on(monkeypatch, "Banking77Classification", TypeError("a fault of ours"))
    with pytest.raises(TypeError, match="a fault of ours") as caught:
        evaluate(tiny_model, SUITE, data_root=small_data, out=tmp_path / "out", device="cpu")
    assert any(frame.name == "failing" for frame in caught.traceback)
    (note,) = caught.value.__notes__
    assert "1 of 3 scorings failed; the others are in" in note and "please report it" in note
    assert {row.task for row in read_rows(tmp_path / "out/rows.jsonl")} == {"STSBenchmark", "pets"}


def test_failures_are_raised_unless_partial_results_are_asked_for(
    small_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_on(monkeypatch, "STSBenchmark", EvaluationError("cannot be scored"))
    settings: Any = {"data_root": small_data, "out": tmp_path / "out", "device": "cpu"}
    with pytest.raises(EvaluationError, match=r"1 of 3 scorings failed; the others are in .*\n.*cannot be scored"):
        evaluate(tiny_model, SUITE, **settings)
    assert {row.task for row in read_rows(tmp_path / "out/rows.jsonl")} == {"Banking77Classification", "pets"}
    found = evaluate(tiny_model, SUITE, **settings, partial=True)
    assert [one.task for one in found.failures] == ["STSBenchmark"]
    assert {row.task for row in found.rows} == {"Banking77Classification", "pets"}


@pytest.mark.parametrize(
    ("code", "bug"),
    [
        ("import numpy as np; np.linalg.inv(np.zeros((2, 2)))", False),
        ("raise OSError(5, 'Input/output error')", False),
        ("raise MemoryError", False),
        ("raise KeyError('x')", True),
        ("from matryoshka_text.vectors.views import bytes_per_vector as b; b(4, 'float64')", True),
        ("from matryoshka_text.evaluation.scoring.bootstrap import difference as d; d([], [], seed=0)", True),
    ],
)
def test_what_counts_as_a_bug(code: str, bug: bool) -> None:
    with pytest.raises(Exception) as caught:
        exec(code)
    assert running._is_bug(caught.value) is bug


def test_no_more_than_two_models_are_open(
    small_data: Path,
    tiny_model: Path,
    run_with_twins: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[weakref.ref[Any]] = []
    most: list[int] = []
    original = Subject.encoder

    def watched(self: Subject, device: str | None) -> Any:
        encoder = original(self, device)
        opened.append(weakref.ref(encoder))
        gc.collect()
        most.append(sum(one() is not None for one in opened))
        return encoder

    monkeypatch.setattr(Subject, "encoder", watched)
    run = run_with_twins(tiny_model)
    found = evaluate(run, SUITE, data_root=small_data, out=tmp_path / "out", device="cpu", dims=(8, 16), twins=True)
    found.require_success()
    assert len(found.plan.subjects) == 4
    assert max(most) <= 2


def test_all_data_are_checked_before_the_first_text_is_encoded(
    small_data: Path, tiny_model: Path, tmp_path: Path, encoded: list[str]
) -> None:
    for name, content in (("mteb__stsbenchmark-sts", ""), ("mteb__banking77", '{"text": "a", "etikett": 1}\n')):
        for file in (small_data / "mteb" / name).iterdir():
            file.unlink()
        (small_data / "mteb" / name / "test.jsonl").write_text(content)
        (small_data / "mteb" / name / "train.jsonl").write_text(content)
    (small_data / "extra/pets/queries.jsonl").write_text("not json\n")
    with pytest.raises(DataError) as caught:
        evaluate(tiny_model, SUITE, data_root=small_data, out=tmp_path / "out", device="cpu")
    said = str(caught.value)
    assert said.startswith("nothing was encoded, because data cannot be read:")
    assert "STSBenchmark: " in said and "Banking77Classification: " in said
    assert "queries.jsonl:1: found broken JSON" in said
    assert "etikett" in said
    assert encoded == []


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()
