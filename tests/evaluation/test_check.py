"""Splits and columns that scoring will read are asked for beforehand."""

import json
from pathlib import Path

import pytest

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.harness import run_plan
from matryoshka_text.evaluation.plan import plan
from matryoshka_text.suite import Suite, TaskEntry

SUITE = Suite(name="x", tasks=(TaskEntry(task="STSBenchmark"), TaskEntry(task="Banking77Classification")))


def problem(small_data: Path, tiny_model: Path, suite: Suite = SUITE) -> str:
    with pytest.raises(DataError) as caught:
        run_plan(plan(tiny_model, suite, data_root=small_data), out=small_data / "out")
    assert not (small_data / "out/vectors").exists()
    return str(caught.value)


def test_other_columns_are_named_for_all_tasks_before_anything_is_encoded(
    small_data: Path, tiny_model: Path, encoded: list[str]
) -> None:
    (small_data / "mteb/mteb__stsbenchmark-sts/test.jsonl.gz").unlink()
    (small_data / "mteb/mteb__stsbenchmark-sts/test.jsonl").write_text(json.dumps({"a": "x", "b": "y", "score": 1}))
    (small_data / "mteb/mteb__stsbenchmark-sts/validation.jsonl.gz").unlink()
    for split in ("train", "test"):
        (small_data / f"mteb/mteb__banking77/{split}.jsonl").write_text(json.dumps({"text": "x", "intent": 1}))
    said = problem(small_data, tiny_model)
    assert "nothing was encoded" in said
    assert "split test lacks the column sentence1, sentence2; found: a, b, score" in said
    assert "split train lacks the column label; found: text, intent" in said
    assert encoded == []


def test_a_missing_split_is_named(small_data: Path, tiny_model: Path) -> None:
    (small_data / "mteb/mteb__banking77/train.jsonl").unlink()
    assert "mteb__banking77: no split train; found: test." in problem(small_data, tiny_model)


def test_a_split_of_the_suite_that_is_not_there(small_data: Path, tiny_model: Path) -> None:
    suite = Suite(name="x", tasks=(TaskEntry(task="STSBenchmark", split="dev"),))
    assert "no split dev; found: validation, test" in problem(small_data, tiny_model, suite).replace(
        "test, validation", "validation, test"
    )


def test_a_file_that_is_no_json_is_named(small_data: Path, tiny_model: Path) -> None:
    (small_data / "mteb/mteb__banking77/test.jsonl").write_text("{oops")
    said = problem(small_data, tiny_model)
    assert "Banking77Classification: " in said and "mteb__banking77 cannot be loaded" in said
