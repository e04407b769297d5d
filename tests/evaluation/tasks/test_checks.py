"""Splits and columns that scoring will read are asked for beforehand."""

import json
from pathlib import Path
from typing import Any

import datasets
import mteb
import pytest

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.harness import run_plan
from matryoshka_text.evaluation.plan import plan_evaluation
from matryoshka_text.evaluation.tasks.checks import require_readable
from matryoshka_text.evaluation.tasks.loaded import LoadedTask
from matryoshka_text.suite import Suite, TaskEntry

SUITE = Suite(name="x", tasks=(TaskEntry(task="STSBenchmark"), TaskEntry(task="Banking77Classification")))


def problem(small_data: Path, tiny_model: Path, suite: Suite = SUITE) -> str:
    with pytest.raises(DataError) as caught:
        run_plan(plan_evaluation(tiny_model, suite, data_root=small_data), out=small_data / "out")
    assert not (small_data / "out/vectors").exists()
    return str(caught.value)


def test_other_columns_are_named_for_all_tasks_before_anything_is_encoded(
    small_data: Path, tiny_model: Path, encoded: list[str]
) -> None:
    (small_data / "mteb/mteb__stsbenchmark-sts/test.jsonl.gz").unlink()
    (small_data / "mteb/mteb__stsbenchmark-sts/test.jsonl").write_text(json.dumps({"a": "x", "b": "y", "score": 1}))
    (small_data / "mteb/mteb__stsbenchmark-sts/validation.jsonl.gz").unlink()
    for split in ("train", "test"):
        (small_data / f"mteb/mteb__banking77/{split}.jsonl").write_text(json.dumps({"text": "x", "intent": 1}))
    said = problem(small_data, tiny_model)
    assert "nothing was encoded" in said
    assert "split test lacks the column sentence1, sentence2; found: a, b, score" in said
    assert "split train lacks the column label; found: text, intent" in said
    assert encoded == []


def test_a_missing_split_is_named(small_data: Path, tiny_model: Path) -> None:
    (small_data / "mteb/mteb__banking77/train.jsonl").unlink()
    assert "mteb__banking77: no split train; found: test." in problem(small_data, tiny_model)


def test_a_split_of_the_suite_that_is_not_there(small_data: Path, tiny_model: Path) -> None:
    suite = Suite(name="x", tasks=(TaskEntry(task="STSBenchmark", split="dev"),))
    assert "no split dev; found: validation, test" in problem(small_data, tiny_model, suite).replace(
        "test, validation", "validation, test"
    )


def test_a_file_that_is_no_json_is_named(small_data: Path, tiny_model: Path) -> None:
    (small_data / "mteb/mteb__banking77/test.jsonl").write_text("{oops")
    said = problem(small_data, tiny_model)
    place = small_data / "mteb/mteb__banking77/test.jsonl"
    assert f"\n  Banking77Classification: {place}:1: found broken JSON" in said
    assert "mtext data fetch Banking77Classification --out DIR" in said


def fault(name: str, data: Any, **attributes: Any) -> str:
    """What is said of mteb's task with those data, "" for nothing."""
    task_class = type(mteb.get_task(name))

    def load_data(self: Any, num_proc: int | None = None, **kwargs: Any) -> None:
        self.dataset, self.data_loaded = data, True

    loaded = LoadedTask(type("Given", (task_class,), {"load_data": load_data, **attributes}))
    try:
        require_readable(loaded, "there")
    except DataError as error:
        return str(error)
    return ""


def split(**columns: Any) -> datasets.DatasetDict:
    return datasets.DatasetDict({"test": datasets.Dataset.from_dict(columns)})


def both(**columns: Any) -> datasets.DatasetDict:
    return datasets.DatasetDict({name: datasets.Dataset.from_dict(columns) for name in ("train", "test")})


def found(**parts: Any) -> dict[str, Any]:
    corpus = {"id": ["d0", "d1"], "title": ["", ""], "text": ["red", "blue"]}
    data: dict[str, Any] = {
        "corpus": datasets.Dataset.from_dict(corpus),
        "queries": datasets.Dataset.from_dict({"id": ["q0"], "text": ["cat"]}),
        "relevant_docs": {"q0": {"d0": 1}},
        "top_ranked": {"q0": ["d0", "d1"]},
    }
    return {"default": {"test": {**data, **parts}}}


A, B = ["red", "blue"], ["cat", "dog"]
NO_IDS = datasets.Dataset.from_dict({"_id": ["q0"], "text": ["cat"]})
NONE = datasets.Dataset.from_dict({"id": [], "text": []})
SUMMARY = {"text": A, "human_summaries": [A, B], "machine_summaries": [A, B], "relevance": [[1.0, 2.0], [3.0, 4.0]]}
OLD = {"sentences": [A], "labels": [B]}

FAULTS: list[tuple[str, Any, str]] = [
    ("STSBenchmark", split(sentence1=A, sentence2=B, score=[1.0, 2.0]), ""),
    (
        "STSBenchmark",
        split(sentence1=A, sentence2=["cat", None], score=[1.0, 2.0]),
        "1 rows without a value in column ",
    ),
    (
        "STSBenchmark",
        split(sentence1=A, sentence2=B, score=[1.0, float("nan")]),
        "has NaN or infinity in 1 cell of column score, the first in row 2; needed: finite numbers",
    ),
    ("STSBenchmark", split(sentence1=A, sentence2=B, score=["1", "2"]), "has texts in column score; needed: number"),
    ("STSBenchmark", split(sentence1=[], sentence2=[], score=[]), "split test is empty; at least one row is needed"),
    ("Banking77Classification", both(text=A, label=[0, 1]), ""),
    ("Banking77Classification", both(text=A, label=[1, 1]), "split train has only one class in column label"),
    ("Banking77Classification", both(text=[1, 2], label=[0, 1]), "has numbers in column text; needed: text"),
    ("Banking77Classification", split(text=A, label=[0, 1]), "no split train; found: test"),
    ("KorHateSpeechMLClassification", both(text=A, label=[[0], [0, 1]]), ""),
    ("KorHateSpeechMLClassification", both(text=A, label=[0, 1]), "has numbers in column label; needed: labels"),
    ("TwentyNewsgroupsClustering", split(**OLD), ""),
    (
        "TwentyNewsgroupsClustering",
        split(sentences=[A], labels=[["cat"]]),
        "lists of different lengths in columns sent",
    ),
    ("TwentyNewsgroupsClustering", split(sentences=A, labels=B), "has texts in column sentences; needed: texts"),
    ("TwentyNewsgroupsClustering.v2", split(sentences=A * 20, labels=B * 20), ""),
    ("TwentyNewsgroupsClustering.v2", split(sentences=A, labels=B), "has 2 rows; at least 25 rows are needed"),
    ("TwitterURLCorpus", split(sentence1=A, sentence2=B, labels=[0, 1]), ""),
    ("TwitterURLCorpus", split(sentence1=[A], sentence2=[B], labels=[[0, 1]]), ""),
    (
        "TwitterURLCorpus",
        split(sentence1=A, sentence2=B, labels=[1, 1]),
        "the labels 1 in column labels; needed: 0 and 1",
    ),
    (
        "TwitterURLCorpus",
        split(sentence1=A, sentence2=B, labels=[1, 2]),
        "the labels 1, 2 in column labels; needed: 0 and",
    ),
    ("SummEvalSummarization.v2", split(**SUMMARY), ""),
    (
        "SummEvalSummarization.v2",
        split(**{**SUMMARY, "relevance": [[1.0, 2.0], [3.0, float("inf")]]}),
        "has NaN or infinity in 1 cell of column relevance, the first in row 2",
    ),
    (
        "TwentyNewsgroupsClustering.v2",
        split(sentences=A * 20, labels=["cat"] * 40),
        "has only one class in column lab",
    ),
    ("SummEvalSummarization.v2", split(**{**SUMMARY, "relevance": [[1.0], [2.0]]}), "lists of different lengths"),
    (
        "SummEvalSummarization.v2",
        split(**{**SUMMARY, "text": [A, B]}),
        "has lists of texts in column text; needed: text",
    ),
    ("SummEvalSummarization.v2", split(text=A), "lacks the column human_summaries, machine_summaries, relevance"),
    ("BornholmBitextMining", split(sentence1=A), "lacks the column sentence2; found: sentence1"),
    ("SciFact", found(), ""),
    ("SciFact", found(top_ranked=None), ""),
    ("SciFact", found(queries=NONE), "has no queries that are judged"),
    ("SciFact", found(corpus=NONE), "split test has no corpus"),
    ("SciFact", found(queries=NO_IDS), "of its queries lacks the column id; found: _id, text"),
    ("SciFact", found(relevant_docs={}), "has no judgements"),
    ("SciFact", found(relevant_docs={"q0": {"d7": 1}}), "judges no document of its corpus"),
    ("AskUbuntuDupQuestions", found(), ""),
    ("AskUbuntuDupQuestions", found(top_ranked=None), "has no candidates to be ranked"),
    ("AskUbuntuDupQuestions", found(top_ranked={"q1": ["d0"]}), "has no candidates for 1 queries (q0)"),
    ("STS17", {"en-en": split(sentence1=A, sentence2=B, score=[1.0, 2.0])}, "no subset ko-ko; found: en-en"),
]


@pytest.mark.parametrize(("name", "data", "said"), FAULTS, ids=[f"{n} {said[:20]}" for n, _, said in FAULTS])
def test_every_type_of_task_is_checked(name: str, data: Any, said: str) -> None:
    told = fault(name, data)
    assert said in told if said else told == ""
    assert all(line.strip().startswith(f"{name}: there: ") for line in told.splitlines())


def test_cross_validation_reads_one_split() -> None:
    only = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": A, "label": [0, 1]})})
    data = {"is_cross_validation": True, "_eval_splits": ["train"]}
    assert fault("Banking77Classification", only, **data) == ""


def test_all_faults_of_a_task_at_once() -> None:
    told = fault("STSBenchmark", split(sentence1=["red", None], score=["1", "2"]))
    assert len(told.splitlines()) == 3
