"""Files in mteb's layout, whole or not at all, readable by mteb."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mteb
import pytest
from mteb import ResultCache, TaskResult

from matryoshka_text.evaluation.models import Subject, open_subjects
from matryoshka_text.evaluation.scoring.results import experiment_of, model_meta, result_path, save_result
from matryoshka_text.vectors.views import View


@pytest.fixture
def subject(tiny_model: Path) -> Subject:
    return open_subjects([str(tiny_model)])[0]


def result(score: float, split: str = "test", revision: str = "r1", **more: float) -> TaskResult:
    task = mteb.get_task("STSBenchmark")
    made = TaskResult.from_task_results(task, {split: {"default": {"main_score": score, **more}}}, evaluation_time=1.0)
    return made.model_copy(update={"dataset_revision": revision})


def meta(subject: Subject, dim: int, **settings: Any) -> Any:
    return model_meta(subject, subject.encoder("cpu"), View(dim), **{"normalize": True, **settings})


def test_full_width_and_prefixes_have_the_places_mteb_gives_them(subject: Subject, tmp_path: Path) -> None:
    base = tmp_path / "results" / subject.name.replace("/", "__") / subject.weights
    assert save_result(tmp_path, result(0.5), meta(subject, 32), encode_kwargs={}) == base / "STSBenchmark.json"
    cut = save_result(tmp_path, result(0.4), meta(subject, 8), encode_kwargs={})
    assert cut == base / "experiments/embed_dim_8__normalize_True/STSBenchmark.json"
    raw = save_result(tmp_path, result(0.3), meta(subject, 8, normalize=False), encode_kwargs={})
    assert raw == base / "experiments/embed_dim_8/STSBenchmark.json"
    for view, path in ((View(32), base / "STSBenchmark.json"), (View(8), cut)):
        assert result_path(tmp_path, subject, view, "STSBenchmark", normalize=True) == path
    assert {"STSBenchmark.json", "model_meta.json"} <= {one.name for one in cut.parent.iterdir()}
    assert {one.name for one in tmp_path.iterdir()} == {"results", ".results.lock"}


def test_mteb_reads_them_back(subject: Subject, tmp_path: Path) -> None:
    for dim, score in ((32, 0.5), (16, 0.45), (8, 0.4)):
        save_result(tmp_path, result(score), meta(subject, dim), encode_kwargs={"normalize": True})
    cache = ResultCache(tmp_path)
    assert cache.load_task_result("STSBenchmark", meta(subject, 8)).get_score() == 0.4
    found = cache.load_results(load_experiments="match_name").model_results
    scores = {one.experiment_name: one.task_results[0].get_score() for one in found}
    assert scores == {None: 0.5, "embed_dim_16__normalize_True": 0.45, "embed_dim_8__normalize_True": 0.4}
    assert {(one.model_name, one.model_revision) for one in found} == {(subject.name, subject.weights)}
    full = cache.load_results(models=[subject.name]).model_results
    assert [one.task_results[0].get_score() for one in full] == [0.5]


def test_no_two_ways_share_a_place(subject: Subject) -> None:
    every = [
        View(dim, method, seed, precision)
        for dim in (8, 32)
        for method, seed in (("first", None), ("random", 0), ("random", 1), ("pca", None), ("projection", 0))
        for precision in ("float32", "int8", "binary")
    ]
    subjects = (subject, replace(subject, layers=1))
    names = [
        str(experiment_of(one, view, normalize=normalize))
        for one in subjects
        for view in every
        for normalize in (True, False)
    ]
    # Full width of unit length, in float32 or not, is the same raw and normalised: the one pair that shares.
    assert len(set(names)) == len(names) - 2 * 3


def test_full_width_that_is_not_of_unit_length_is_an_experiment_when_normalised(subject: Subject) -> None:
    raw = replace(subject, unit=False)
    assert experiment_of(raw, View(32), normalize=True) == {"normalize": True}
    assert experiment_of(raw, View(32), normalize=False) is None
    assert experiment_of(subject, View(32), normalize=True) is None


def test_other_splits_of_the_same_data_stay(subject: Subject, tmp_path: Path) -> None:
    save_result(tmp_path, result(0.5), meta(subject, 32), encode_kwargs={})
    path = save_result(tmp_path, result(0.6, split="validation"), meta(subject, 32), encode_kwargs={})
    assert set(TaskResult.from_disk(path).scores) == {"test", "validation"}
    save_result(tmp_path, result(0.7, split="validation", revision="r2"), meta(subject, 32), encode_kwargs={})
    assert set(TaskResult.from_disk(path).scores) == {"validation"}


def test_another_type_of_task_of_that_name_takes_the_place(subject: Subject, tmp_path: Path) -> None:
    save_result(tmp_path, result(0.5, accuracy=0.5, f1=0.4), meta(subject, 32), encode_kwargs={})
    same = result(0.6, split="validation", accuracy=0.6)
    path = save_result(tmp_path, same, meta(subject, 32), encode_kwargs={})
    assert set(TaskResult.from_disk(path).scores) == {"test", "validation"}
    save_result(tmp_path, result(0.1, split="train", v_measure=0.1), meta(subject, 32), encode_kwargs={})
    assert set(TaskResult.from_disk(path).scores) == {"train"}
