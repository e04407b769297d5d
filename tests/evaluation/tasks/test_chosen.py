"""Tasks, benchmarks and aggregates of mteb taken apart."""

import mteb
import pytest

from matryoshka_text.evaluation.tasks.names import TaskChoice, chosen_tasks
from matryoshka_text.suite import TaskEntry


def chosen(**entry: object) -> list[TaskChoice]:
    found = chosen_tasks(TaskEntry.model_validate(entry))
    assert not isinstance(found, str), found
    return found


def refused(**entry: object) -> str:
    found = chosen_tasks(TaskEntry.model_validate(entry))
    assert isinstance(found, str)
    return found


def test_a_benchmark_is_its_tasks_with_their_splits_and_subsets() -> None:
    benchmark = mteb.get_benchmark("MTEB(eng, v2)")
    found = {one.name: one for one in chosen(benchmark="MTEB(eng, v2)")}
    assert len(found) == len(benchmark.tasks) == 41
    for task in benchmark.tasks:
        one = found[task.metadata.name]
        assert one.task_class is type(task)
        assert list(one.subsets or task.metadata.hf_subsets) == list(task.hf_subsets)
        assert ([one.split] if one.split else list(task.metadata.eval_splits)) == list(task.eval_splits)
    assert found["STS17"].subsets == ("en-en",)
    assert found["STSBenchmark"].subsets is None


@pytest.mark.parametrize("name", ["MTEB(eng, v1)", "MTEB(Multilingual, v2)", "NanoBEIR", "BEIR"])
def test_other_benchmarks(name: str) -> None:
    single = [one for task in mteb.get_benchmark(name).tasks for one in getattr(task.metadata, "tasks", [task])]
    assert [one.name for one in chosen(benchmark=name)] == [task.metadata.name for task in single]


def test_an_aggregate_is_its_parts() -> None:
    parts = mteb.get_task("CQADupstackRetrieval").metadata.tasks
    assert [one.name for one in chosen(task="CQADupstackRetrieval")] == [part.metadata.name for part in parts]


def test_languages_and_subsets_are_mtebs_own() -> None:
    (one,) = chosen(task="STS22.v2", languages=["deu", "eng"], subsets=["de", "en", "fr"])
    assert one.subsets == ("en", "de")
    (every,) = chosen(task="STS22.v2")
    assert every.subsets is None
    (english,) = chosen(task="STSBenchmark", languages=["eng"])
    assert english.subsets is None
    names = {one.name for one in chosen(benchmark="MTEB(Multilingual, v2)", languages=["isl"])}
    assert names and names < {task.metadata.name for task in mteb.get_benchmark("MTEB(Multilingual, v2)").tasks}


def test_a_split_is_one_asked_for() -> None:
    (one,) = chosen(task="STSBenchmark", split="validation")
    assert one.split == "validation"


def test_why_not() -> None:
    assert "has no task 'STSBenchmrk'; did you mean STSBenchmark" in refused(task="STSBenchmrk")
    assert "is a benchmark of mteb, no task; write `benchmark: NanoBEIR`" in refused(task="NanoBEIR")
    assert "no benchmark 'NanoBER'; did you mean NanoBEIR" in refused(benchmark="NanoBER")
    assert refused(task="CIFAR10") == "CIFAR10 is about image; allowed: tasks about text only; leave it out"
    pictures = refused(benchmark="MIEB(eng)")
    assert "of the 125 tasks of MIEB(eng) cannot be scored: " in pictures and pictures.endswith("with `task`")
    assert "STS17 has no subset en-ne; did you mean en-en" in refused(task="STS17", subsets=["en-ne"])
    assert "STS17 has nothing in isl; allowed: ara-Arab, deu-Latn" in refused(task="STS17", languages=["isl"])
    assert "STS17 has nothing in icelandic; allowed" in refused(task="STS17", languages=["icelandic"])
    assert "no task of MTEB(eng, v2) is in isl" in refused(benchmark="MTEB(eng, v2)", languages=["isl"])
