"""The sample: drawn by seed, said in words, and without texts of the task."""

from pathlib import Path

import datasets
import pytest

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.sample import Sample, read_sample, texts_within
from matryoshka_text.suite import Suite, TaskEntry


def suite(folder: Path, **settings: object) -> Suite:
    values = {"name": "own", "tasks": (TaskEntry(task="STSBenchmark"),), "folder": folder, **settings}
    return Suite.model_validate(values)


def test_a_file_gives_its_distinct_lines(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("one\ntwo\n\none\nthree\n")
    sample = read_sample(suite(tmp_path, sample="some.txt"))
    assert sample.texts == ("one", "two", "three")
    assert str(sample).startswith("3 texts of some.txt (sha256 ")


def test_the_seed_draws(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("\n".join(f"text {n}" for n in range(50)))
    first, again, other = (read_sample(suite(tmp_path, sample="some.txt", seed=seed), 10) for seed in (0, 0, 1))
    assert first == again
    assert first.digest != other.digest
    assert len(set(first.texts)) == 10


def test_bundled_training_texts_are_the_default(tmp_path: Path) -> None:
    sample = read_sample(suite(tmp_path))
    assert len(sample.texts) == 10_000
    assert not {"neutral", "entailment"} & set(sample.texts)
    assert "bundled training data" in str(sample)


@pytest.mark.parametrize(("content", "said"), [(None, "there is no such file"), ("one\none\n", "holds 1 different")])
def test_a_sample_that_is_none(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "some.txt").write_text(content)
    with pytest.raises(DataError, match=said):
        read_sample(suite(tmp_path, sample="some.txt"))


def test_every_string_of_a_tasks_data_is_found() -> None:
    data = {
        "default": {
            "corpus": datasets.Dataset.from_dict({"id": ["1"], "text": ["a document"]}),
            "relevant_docs": {"q1": {"1": 1}},
            "top_ranked": None,
        },
        "lists": datasets.DatasetDict(test=datasets.Dataset.from_dict({"sentences": [["in", "a list"]], "n": [1]})),
    }
    assert {"a document", "in", "a list"} <= set(texts_within(data))


def test_a_document_is_known_by_its_title_too_and_in_any_case() -> None:
    corpus = datasets.Dataset.from_dict({"id": ["1"], "title": ["On Cats"], "text": ["they  sleep."]})
    sample = Sample(("on cats they sleep.", "They sleep.", "on dogs"), "here")
    assert sample.shared_with(texts_within({"default": {"corpus": corpus}})) == {"on cats they sleep.", "They sleep."}


def test_without_some_texts() -> None:
    sample = Sample(("a", "b", "c"), "here")
    assert sample.without({"b"}).texts == ("a", "c")
    assert sample.without({"z"}) is sample
