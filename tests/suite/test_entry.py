"""One entry of a suite: its kind, what it names and what the results call it."""

import pytest
from pydantic import ValidationError

from matryoshka_text.suite import OWN_KINDS, TaskEntry


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_an_own_set_is_called_after_its_file_or_by_name(kind: str) -> None:
    entry = TaskEntry.model_validate({kind: "a/moods.jsonl.gz"})
    assert (entry.kind, entry.target, entry.name) == (kind, "a/moods.jsonl.gz", "moods")
    assert TaskEntry.model_validate({kind: "a/moods"}).name == "moods"
    assert TaskEntry.model_validate({kind: "a/moods.v2"}).name == "moods.v2"
    assert TaskEntry.model_validate({kind: "a/moods", "name": "my moods"}).name == "my moods"


def test_tasks_and_benchmarks_keep_mtebs_names() -> None:
    assert TaskEntry(task="STSBenchmark").name == "STSBenchmark"
    assert TaskEntry(benchmark="MTEB(eng, v2)").name == "MTEB(eng, v2)"


def test_an_entry_cannot_be_changed() -> None:
    entry = TaskEntry(task="STS13")
    with pytest.raises(ValidationError, match="frozen"):
        entry.task = "STS14"
