"""Suites out of names of tasks and benchmarks."""

from pathlib import Path

import pytest

from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.evaluation.tasks.names import entries_of, open_suite, suite_of
from matryoshka_text.evaluation.tasks.planned import PlannedTask


def test_a_suite_is_a_bundled_name_a_file_a_benchmark_or_a_task(tmp_path: Path) -> None:
    assert open_suite("quick").name == "quick"
    path = tmp_path / "own.yaml"
    path.write_text("name: own\ntasks: [{task: STS13}]\n")
    assert open_suite(path).name == "own"
    benchmark = open_suite("MTEB(eng, v2)")
    assert (benchmark.name, benchmark.given) == ("mteb-eng-v2", "MTEB(eng, v2)")
    assert [entry.benchmark for entry in benchmark.tasks] == ["MTEB(eng, v2)"]
    assert [entry.task for entry in open_suite("STS13").tasks] == ["STS13"]


def test_tasks_benchmarks_and_own_sets_by_name() -> None:
    suite = suite_of(["STS13", "NanoBEIR", "clustering:topics", "STS13"])
    assert [(entry.kind, entry.target) for entry in suite.tasks] == [
        ("task", "STS13"),
        ("benchmark", "NanoBEIR"),
        ("clustering", "topics"),
    ]
    assert (suite.name, suite.given) == ("tasks", None)


def test_all_unknown_names_get_the_closest() -> None:
    with pytest.raises(RecipeError) as caught:
        entries_of(["STSBenchmrk", "STS13", "mteb(ENG, v2", "clusterin:topics"])
    first, second, third = str(caught.value).splitlines()
    assert "no task and no benchmark 'STSBenchmrk'; did you mean STSBenchmark or" in first
    assert "did you mean MTEB(eng, v2) or MTEB(eng, v1)" in second
    assert "'clusterin:topics'" in third and "clustering:NAME" in third


def test_an_unknown_suite_gets_the_closest_suites_and_benchmarks() -> None:
    with pytest.raises(RecipeError, match=r"unknown suite 'quik'; did you mean quick"):
        open_suite("quik")
    with pytest.raises(RecipeError, match=r"did you mean NanoBEIR .*allowed: a bundled suite \(all, english, "):
        open_suite("NanoBER")


def test_no_name_is_an_error() -> None:
    with pytest.raises(RecipeError, match="no task given"):
        suite_of([])


def test_a_path_is_from_the_working_folder_whatever_suite_it_is_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matryoshka_text.evaluation.tasks.planned import planned_tasks

    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    rows = '{"sentence1": "red", "sentence2": "blue", "score": 1}\n'
    for file in (tmp_path / "up.jsonl", tmp_path / "below/my.jsonl"):
        file.write_text(rows)
    tasks = planned_tasks(open_suite("mlm"), names=["sts:./my.jsonl", "sts:../up.jsonl"])
    assert [task.name for task in tasks[1:]] == ["my", "up"]
    folders = [task.folder for task in tasks[1:] if isinstance(task, PlannedTask)]
    assert folders == [tmp_path / "below/my.jsonl", tmp_path / "up.jsonl"]


def test_a_file_of_the_working_folder_without_a_dot_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matryoshka_text.evaluation.tasks.planned import planned_tasks

    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.jsonl").write_text("{}\n")
    for name in ("my.jsonl", "my"):
        with pytest.raises(DataError, match=r"my\.jsonl is there, but a path begins with a dot: write \./my\.jsonl"):
            planned_tasks(open_suite("mlm"), names=[f"sts:{name}"])
