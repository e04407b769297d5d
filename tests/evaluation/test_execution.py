"""The plan carried out: what stops it, what does not, and what is let go of."""

import errno
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matryoshka_text.errors import DataError, RunError
from matryoshka_text.evaluation import evaluate, execution
from matryoshka_text.evaluation.scoring import score as scoring
from matryoshka_text.evaluation.subject import Subject
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


def test_the_data_of_one_task_at_a_time_are_in_memory(
    small_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[Any]] = []
    together: list[int] = []
    original = execution._load

    def watched(task: Any) -> Any:
        gc.collect()
        together.append(sum(one() is not None for one in alive))
        loaded = original(task)
        alive.append(weakref.ref(loaded))
        return loaded

    monkeypatch.setattr(execution, "_load", watched)
    evaluate(tiny_model, SUITE, data_root=small_data, out=tmp_path / "out", device="cpu")
    # Three loads to check, three to score: each finds all earlier ones gone.
    assert together == [0] * 6


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
