"""A rotated model in mteb's own tasks: full width scores what the base scores."""

from pathlib import Path

import pytest

from matryoshka_text.evaluation import evaluate
from matryoshka_text.suite import Suite, TaskEntry


def test_full_width_scores_are_the_bases(
    small_data: Path, tiny_model: Path, rotated_model: Path, tmp_path: Path
) -> None:
    suite = Suite(name="small", tasks=(TaskEntry(task="STSBenchmark"), TaskEntry(retrieval="pets")))
    scores = {}
    for name, model in (("base", tiny_model), ("rotated", rotated_model)):
        done = evaluate(model, suite, data_root=small_data, out=tmp_path / name, device="cpu", dims=(8, 32))
        scores[name] = {(row.task, row.dim): row.score for row in done.rows}
    for task in ("STSBenchmark", "pets"):
        assert scores["rotated"][task, 32] == pytest.approx(scores["base"][task, 32], abs=1e-4)
        assert (task, 8) in scores["rotated"]


def test_the_folder_of_mtext_rotate_is_the_model_in_it(small_data: Path, rotated_model: Path, tmp_path: Path) -> None:
    suite = Suite(name="small", tasks=(TaskEntry(task="STSBenchmark"),))
    done = evaluate(rotated_model.parent, suite, data_root=small_data, out=tmp_path / "out", device="cpu", dims=(8,))
    assert {(row.task, row.dim) for row in done.rows} == {("STSBenchmark", 8), ("STSBenchmark", 32)}
    assert done.rows[0].model.endswith(rotated_model.parent.name)
