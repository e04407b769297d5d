"""A suite's tasks with their data found; what is missing and what cannot be, all at once."""

import json
from pathlib import Path

import pytest

from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.evaluation.tasks.planned import PlannedTask, PlannedText, planned_tasks, with_tasks
from matryoshka_text.suite import Suite, TaskEntry, load_suite


def suite(*entries: TaskEntry, **rest: object) -> Suite:
    return Suite.model_validate({"name": "x", "tasks": entries, **rest})


STS = TaskEntry(task="STSBenchmark")


def test_names_are_added_to_a_suite(small_data: Path) -> None:
    added = with_tasks(suite(STS), ["STSBenchmark", "Banking77Classification", "retrieval:pets"])
    assert [entry.name for entry in added.tasks] == ["STSBenchmark", "Banking77Classification", "pets"]
    assert with_tasks(suite(STS), ()) == suite(STS)
    names = ["Banking77Classification", "retrieval:pets"]
    assert [task.name for task in planned_tasks(suite(STS), small_data, names)] == [one.name for one in added.tasks]


def test_what_is_missing_is_listed_with_the_command_that_fetches_it(small_data: Path) -> None:
    entries = (STS, TaskEntry(benchmark="MTEB(eng, v2)"), TaskEntry(sts="birds"), TaskEntry(masked_text="a.txt"))
    with pytest.raises(DataError) as caught:
        planned_tasks(suite(*entries, given="own.yaml"), small_data)
    said = str(caught.value)
    # STSBenchmark and Banking77 are there.
    assert "suite x: 41 of 44 tasks have no data, so nothing was run." in said
    assert f"\n  STS17: no such folder: {small_data}/mteb__sts17-crosslingual-sts or" in said
    assert "\n  birds: no such folder, and no file of that name with .jsonl, " in said
    assert "\n  a: no such file: " in said
    assert "holds mteb/<org>__<name>/ and extra/<name> and a.txt with --data-root or MTEXT_DATA_ROOT" in said
    assert said.endswith("mtext data fetch own.yaml --out DIR")


def test_a_benchmark_is_fetched_by_its_name(small_data: Path) -> None:
    from matryoshka_text.evaluation.tasks.names import open_suite

    with pytest.raises(DataError, match=r'mtext data fetch "MTEB\(eng, v2\)" --out DIR$'):
        planned_tasks(open_suite("MTEB(eng, v2)"), small_data)


def test_without_one_name_for_all_the_tasks_that_are_missing_are_fetched(small_data: Path) -> None:
    entries = (STS, TaskEntry(task="STS22.v2"), TaskEntry(sts="birds"), TaskEntry(task="STS13"))
    with pytest.raises(DataError, match=r"mtext data fetch STS22\.v2 STS13 --out DIR$"):
        planned_tasks(suite(*entries), small_data)
    with pytest.raises(DataError, match=r"mtext data fetch STS22\.v2 --out DIR$"):
        planned_tasks(suite(STS, given="quick"), small_data, ["STS22.v2"])


def test_a_suite_that_nothing_was_added_to_keeps_its_name() -> None:
    assert with_tasks(suite(STS, given="own.yaml"), ["STSBenchmark"]).given == "own.yaml"
    assert with_tasks(suite(STS, given="own.yaml"), ["STS13"]).given is None


def test_own_sets_alone_are_not_fetched_where_tasks_of_mteb_are_there(small_data: Path) -> None:
    with pytest.raises(DataError) as caught:
        planned_tasks(suite(STS, TaskEntry(sts="birds"), given="own.yaml"), small_data)
    assert "mtext data fetch" not in str(caught.value)


def test_nothing_is_fetched_for_own_sets(small_data: Path) -> None:
    with pytest.raises(DataError) as caught:
        planned_tasks(suite(TaskEntry(sts="birds")), small_data)
    assert "mtext data fetch" not in str(caught.value) and "the hub" not in str(caught.value)


def test_all_that_cannot_be_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("name: own\ntasks:\n  - {task: CIFAR10}\n  - {task: STS13}\n  - {benchmark: NanoBER}\n")
    with pytest.raises(RecipeError) as caught:
        planned_tasks(load_suite(path))
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{path}:3: tasks[0].task: CIFAR10 is about image")
    assert second.startswith(f"{path}:5: tasks[2].benchmark: mteb has no benchmark 'NanoBER'")


def test_tasks_that_a_benchmark_names_too_are_planned_once() -> None:
    tasks = planned_tasks(suite(STS, TaskEntry(benchmark="MTEB(eng, v2)")))
    assert len(tasks) == 41


def test_one_name_for_two_scores_is_refused() -> None:
    entries = (TaskEntry(task="STS17", subsets=("ko-ko",)), TaskEntry(benchmark="MTEB(eng, v2)"))
    with pytest.raises(RecipeError, match=r"one name stands for two tasks: STS17 \(STS, .*#ko-ko; STS, .*#en-en\)"):
        planned_tasks(suite(*entries))


def test_without_a_root_the_hubs_own_data_are_official() -> None:
    (task,) = planned_tasks(suite(STS))
    assert isinstance(task, PlannedTask)
    assert (task.official, task.folder, task.fingerprint, task.subsets) == (True, None, None, None)


def test_texts_are_planned_beside_tasks(small_data: Path) -> None:
    (small_data / "a.txt").write_text("red\n")
    task, text = planned_tasks(suite(STS, TaskEntry(masked_text="a.txt")), small_data)
    assert isinstance(task, PlannedTask) and isinstance(text, PlannedText)


def test_every_bundled_suite_can_be_planned() -> None:
    for name in ("quick", "mlm", "sts", "sts_validation", "english"):
        assert planned_tasks(load_suite(name))


def test_the_suite_all_covers_a_data_root(data_root: Path) -> None:
    tasks = planned_tasks(load_suite("all"), data_root)
    used = {task.folder for task in tasks if isinstance(task, PlannedTask)}
    there = {path.resolve() for kind in ("mteb", "extra") for path in (data_root / kind).iterdir()}
    assert used == there
    assert {task.type for task in tasks} == {
        "STS",
        "Classification",
        "Clustering",
        "PairClassification",
        "Reranking",
        "Retrieval",
    }


def test_the_settings_of_an_own_set_are_part_of_its_data(tmp_path: Path) -> None:
    rows = [{"sentence1": "red", "sentence2": "blue", "label": label} for label in ("a", "b")]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = (
        planned_tasks(suite(TaskEntry(pair_classification="pairs", positive=label)), tmp_path)[0]
        for label in ("a", "b")
    )
    assert first.data != second.data
    assert isinstance(first, PlannedTask) and isinstance(second, PlannedTask)
    assert first.fingerprint == second.fingerprint == first.data.partition("#")[0]
