"""Suites are frozen, and strict about types."""

import pytest
from pydantic import ValidationError

from matryoshka_text.suite import Suite, TaskEntry


def test_a_suite_cannot_be_changed() -> None:
    suite = Suite(name="x", tasks=(TaskEntry(task="STS13"),))
    with pytest.raises(ValidationError, match="frozen"):
        suite.name = "y"


def test_the_same_task_may_be_named_for_two_splits() -> None:
    entries = (TaskEntry(task="STSBenchmark", split="validation"), TaskEntry(task="STSBenchmark", split="test"))
    assert len(Suite(name="x", tasks=entries).tasks) == 2


def test_numbers_are_no_words() -> None:
    with pytest.raises(ValidationError):
        TaskEntry.model_validate({"task": 3})
    with pytest.raises(ValidationError):
        Suite.model_validate({"name": "x", "dims": ["8"], "tasks": [{"task": "STS13"}]})


def test_a_masked_text_is_called_after_its_file_or_by_name() -> None:
    assert TaskEntry(masked_text="a/novels.txt.gz").name == TaskEntry(masked_text="novels.txt").name == "novels"
    assert TaskEntry(masked_text="a/novels.txt.gz", name="books").name == "books"
