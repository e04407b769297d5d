"""Everything that can be known before encoding is known, and said at once."""

import sys
from pathlib import Path

import pytest

from matryoshka_text.errors import DataError, ExtraMissing, RecipeError
from matryoshka_text.evaluation.plan import plan_evaluation
from matryoshka_text.suite import Suite, TaskEntry


def suite(*entries: TaskEntry, dims: tuple[int, ...] | None = None) -> Suite:
    return Suite(name="x", tasks=entries, dims=dims)


STS = TaskEntry(task="STSBenchmark")


def test_tasks_data_models_and_dims(small_data: Path, tiny_model: Path, other_model: Path) -> None:
    entries = (STS, TaskEntry(task="Banking77Classification"), TaskEntry(retrieval="pets"))
    planned = plan_evaluation(tiny_model, suite(*entries), data_root=small_data, against=[other_model])
    assert [(task.name, task.type, task.metric) for task in planned.tasks] == [
        ("STSBenchmark", "STS", "cosine_spearman"),
        ("Banking77Classification", "Classification", "accuracy"),
        ("pets", "Retrieval", "ndcg_at_10"),
    ]
    assert all(task.folder and task.folder.is_relative_to(small_data) for task in planned.tasks)
    assert len({task.data for task in planned.tasks}) == 3
    assert len(planned.subjects) == 2
    assert planned.dims == (8, 16, 32)


def test_dims_asked_for_then_the_suites_then_the_models_then_halvings(
    small_data: Path, tiny_model: Path, other_model: Path
) -> None:
    def dims(
        model: Path, asked: tuple[int, ...] | None = None, named: tuple[int, ...] | None = None
    ) -> tuple[int, ...]:
        return plan_evaluation(model, suite(STS, dims=named), data_root=small_data, dims=asked).dims

    assert dims(other_model, (3, 5), (4,)) == (3, 5, 32)
    assert dims(other_model, None, (4,)) == (4, 32)
    assert dims(other_model) == (8, 16, 32)
    assert dims(tiny_model) == (8, 16, 32)


def test_all_that_is_missing_is_listed_with_the_way_out(small_data: Path) -> None:
    entries = (STS, TaskEntry(task="STS13"), TaskEntry(retrieval="birds"))
    with pytest.raises(DataError) as caught:
        plan_evaluation(None, suite(*entries), data_root=small_data)
    said = str(caught.value)
    assert "2 of 3 tasks have no data" in said
    assert f"STS13: no such folder: {small_data}/mteb__sts13-sts or {small_data}/mteb/mteb__sts13-sts" in said
    assert "birds: no such folder" in said
    assert "--data-root or MTEXT_DATA_ROOT; or give neither" in said


def test_without_a_root_tasks_come_from_the_hub() -> None:
    task = plan_evaluation(None, suite(STS)).tasks[0]
    assert task.folder is None
    assert task.data.startswith("mteb/stsbenchmark-sts@")


def test_unknown_tasks_get_the_closest_names(small_data: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        plan_evaluation(
            None, suite(TaskEntry(task="STSBenchmrk"), TaskEntry(task="Banking77Clasification")), data_root=small_data
        )
    first, second = str(caught.value).splitlines()
    assert "suite x: tasks[0].task: mteb has no task 'STSBenchmrk'; did you mean" in first and "STSBenchmark" in first
    assert "Banking77Classification" in second


def test_a_task_about_pictures_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"tasks\[0\]\.task: CIFAR10 is about image; allowed: tasks about text"):
        plan_evaluation(None, suite(TaskEntry(task="CIFAR10")))


@pytest.mark.parametrize(
    ("dims", "said"),
    [
        ((8, 64), r"--dims: found 64, but .* gives vectors of width 32; use dims of at most 32"),
        ((16, 8), r"--dims: dims\[1\] is 8 .*each above the one before"),
        ((8, 8), r"--dims: dims\[1\] is 8"),
        ((0, 8), r"--dims: dims\[0\] is 0"),
    ],
)
def test_dims_that_cannot_be(small_data: Path, tiny_model: Path, dims: tuple[int, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        plan_evaluation(tiny_model, suite(STS), data_root=small_data, dims=dims)


def test_without_mteb_the_way_out_is_said(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(ExtraMissing, match=r"an evaluation needs the package 'mteb'.*matryoshka-text\[eval\]"):
        plan_evaluation(None, suite(STS), data_root=small_data)
