"""From a text to its score at one dim."""

from pathlib import Path

import mteb
import pytest
from transformers import BertModel

from matryoshka_text import evaluate
from matryoshka_text.suite import Suite, TaskEntry
from tests.hops import deepest, watched


@pytest.mark.parametrize(
    "task", [TaskEntry(task="STSBenchmark"), TaskEntry(retrieval="pets")], ids=["sts", "retrieval"]
)
def test_from_a_text_to_its_score(
    task: TaskEntry, tiny_model: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, scored = watched(monkeypatch, BertModel, "forward"), watched(monkeypatch, mteb, "evaluate")
    evaluate(
        tiny_model,
        Suite(name="hops", tasks=(task,)),
        data_root=small_data,
        out=tmp_path / "out",
        device="cpu",
        dims=[8],
    )
    for calls in (encoded, scored):
        assert len(deepest(calls, "harness.evaluate")) <= 14
