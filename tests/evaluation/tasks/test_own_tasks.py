"""Own labelled files as tasks of mteb: the scores of mteb's own tasks on the same rows, every fault with its place."""

import csv
import gzip
import json
import random
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder

from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.evaluation.mteb_compat import own_data_cache, quiet
from matryoshka_text.evaluation.tasks.checks import require_readable
from matryoshka_text.evaluation.tasks.loaded import LoadedTask
from matryoshka_text.evaluation.tasks.planned import PlannedTask, planned_tasks
from matryoshka_text.files import sha256_of
from matryoshka_text.suite import Suite, TaskEntry

WORDS = "cat dog bank card money street guitar red blue woman man playing running sleeping house picture water".split()
Rows = list[dict[str, Any]]


class Hashed(AbsEncoder):
    """Vectors that depend on the words of a text."""

    def __init__(self) -> None:
        self.mteb_model_meta = ModelMeta.create_empty()

    def encode(self, inputs: Any, **settings: Any) -> np.ndarray:
        texts = [text for batch in inputs for text in batch["text"]]
        return np.array([vector(text) for text in texts], dtype=np.float32)


def vector(text: str) -> Any:
    return sum(np.random.default_rng(list(map(ord, word))).normal(size=6) for word in text.split())


def text(rng: random.Random, length: int = 5) -> str:
    return " ".join(rng.choices(WORDS, k=length))


def classes(rng: random.Random, labels: tuple[Any, ...] = (0, 1, 2)) -> Rows:
    return [{"text": f"{WORDS[n % 3]} {text(rng)}", "label": labels[n % len(labels)]} for n in range(30)]


def write(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    if name.endswith((".csv", ".tsv")):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), delimiter="\t" if name.endswith(".tsv") else ",")
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return path


def planned(root: Path, **entry: Any) -> PlannedTask:
    (task,) = planned_tasks(Suite(name="x", tasks=(TaskEntry.model_validate(entry),)), root)
    assert isinstance(task, PlannedTask)
    return task


def load(task: PlannedTask) -> LoadedTask:
    with quiet(), own_data_cache(task.fingerprint):
        loaded = LoadedTask(task.make)
        require_readable(loaded, str(task.folder))
    return loaded


def scores(task: PlannedTask) -> dict[str, Any]:
    with quiet():
        (result,) = mteb.evaluate(
            Hashed(),
            load(task).fresh(),
            cache=None,
            co2_tracker=False,
            encode_kwargs={"batch_size": 8},
            show_progress_bar=False,
        ).task_results
    assert result.get_score() == result.scores["test"][0][task.metric]
    return dict(result.scores["test"][0])


def test_classification_is_mtebs_on_the_same_rows(tmp_path: Path) -> None:
    rng = random.Random(0)
    for split in ("train", "test"):
        rows = classes(rng)
        write(tmp_path / "mteb/mteb__banking77" / f"{split}.jsonl", rows)
        write(tmp_path / "extra/moods" / f"{split}.jsonl.gz", rows)
    own = planned(tmp_path, classification="moods")
    assert (own.name, own.type, own.metric) == ("moods", "Classification", "accuracy")
    assert issubclass(own.task_class, AbsTaskClassification)
    assert not own.official
    assert scores(own) == scores(planned(tmp_path, task="Banking77Classification"))


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "tsv", "json"])
def test_other_formats_are_the_same(tmp_path: Path, ending: str) -> None:
    rng = random.Random(0)
    for split in ("train", "test"):
        rows = classes(rng)
        write(tmp_path / "extra/a" / f"{split}.jsonl", rows)
        write(tmp_path / "extra/b" / f"{split}.{ending}", rows)
    assert scores(planned(tmp_path, classification="b")) == scores(planned(tmp_path, classification="a"))


def test_labels_may_be_words_in_one_file_with_a_column_for_the_split(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [{**row, "part": part} for part in ("train", "held") for row in classes(rng, ("a", "b"))]
    write(tmp_path / "moods.jsonl", [{"body": row["text"], "mood": row["label"], "part": row["part"]} for row in rows])
    columns = {"text": "body", "label": "mood", "split": "part"}
    task = planned(tmp_path, classification="moods.jsonl", split="held", columns=columns, name="my moods")
    loaded = load(task)
    assert {name: len(part) for name, part in loaded.data.items()} == {"train": 30, "held": 30}
    assert (loaded.data["held"]["text"][0], loaded.data["held"]["label"][0]) == (rows[30]["text"], "a")
    assert task.name == "my moods"
    assert task.data == sha256_of(tmp_path / "moods.jsonl") + "#label=mood,split=part,text=body"


def test_sts_is_mtebs_on_the_same_rows(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [{"sentence1": text(rng), "sentence2": text(rng), "score": rng.random() * 5} for _ in range(20)]
    write(tmp_path / "mteb/mteb__stsbenchmark-sts/test.jsonl", rows)
    file = write(tmp_path / "extra/alike.jsonl.gz", rows)
    own = planned(tmp_path, sts="alike")
    assert (own.type, own.metric, own.data) == ("STS", "cosine_spearman", sha256_of(file))
    assert issubclass(own.task_class, AbsTaskSTS)
    assert scores(own) == scores(planned(tmp_path, task="STSBenchmark"))


@pytest.mark.parametrize("names", [("premise", "hypothesis"), ("sentence1", "sentence2"), ("text1", "text2")])
def test_pairs_are_ranked_by_average_precision(tmp_path: Path, names: tuple[str, str]) -> None:
    rng = random.Random(0)
    labels = ["entailment", "neutral", "contradiction"]
    rows = [{names[0]: text(rng), names[1]: text(rng), "label": labels[n % 3]} for n in range(30)]
    write(tmp_path / "extra/pairs.jsonl", rows)
    own = planned(tmp_path, pair_classification="pairs", positive="entailment")
    assert (own.type, own.metric) == ("PairClassification", "max_ap")
    assert issubclass(own.task_class, AbsTaskPairClassification)
    found = scores(own)
    assert found["cosine_ap"] == pytest.approx(average_precision(rows, names), abs=1e-6)
    every = [found[f"{kind}_ap"] for kind in ("similarity", "cosine", "manhattan", "euclidean", "dot")]
    assert found["max_ap"] == found["main_score"] == max(every)
    assert own.data.endswith("#positive=entailment")


def average_precision(rows: Rows, names: tuple[str, str]) -> float:
    """Mean of the precision at each positive pair, the pairs sorted by cosine."""

    def cosine(row: dict[str, Any]) -> float:
        a, b = (vector(row[name]) for name in names)
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    ranked = sorted(rows, key=cosine, reverse=True)
    hits, total = 0, 0.0
    for place, row in enumerate(ranked, start=1):
        if row["label"] == "entailment":
            hits += 1
            total += hits / place
    return total / hits


def test_clustering_embeds_the_whole_set(tmp_path: Path) -> None:
    rng = random.Random(0)
    write(tmp_path / "extra/topics.jsonl", classes(rng, ("a", "b", "c")))
    own = planned(tmp_path, clustering="topics")
    assert (own.type, own.metric) == ("Clustering", "v_measure")
    assert issubclass(own.task_class, AbsTaskClustering)
    seen: list[str] = []

    class Watching(Hashed):
        def encode(self, inputs: Any, **settings: Any) -> np.ndarray:
            seen.extend(text for batch in inputs for text in batch["text"])
            return super().encode(iter([{"text": seen}]), **settings)

    task = load(own).fresh()
    task.max_documents_per_cluster = 30
    with quiet():
        found = task.evaluate(Watching(), "test", encode_kwargs={"batch_size": 8})["default"]
    assert len(seen) == 30
    assert 0 < found["main_score"] <= 1


def test_reranking_ranks_each_querys_own_candidates(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [
        {"question": f"{WORDS[q]} {text(rng)}", "answer": text(rng, 8), "label": label, "split": split}
        for split in ("train", "test")
        for q in range(4)
        for label in (1, 0, 0, 0)
    ]
    for place in range(0, len(rows), 4):
        for row in rows[place : place + 4]:
            row["question"] = rows[place]["question"]
    rows += [{"question": "no right answer", "answer": "red", "label": 0, "split": "test"}]
    write(tmp_path / "extra/answers.jsonl.gz", rows)
    own = planned(tmp_path, reranking="answers")
    assert (own.type, own.metric) == ("Reranking", "map_at_1000")
    assert issubclass(own.task_class, AbsTaskRetrieval)
    part = load(own).data["default"]["test"]
    assert (len(part["queries"]), len(part["corpus"])) == (4, 16)
    assert part["top_ranked"]["q1"] == ["d4", "d5", "d6", "d7"]
    assert part["relevant_docs"]["q1"] == {"d4": 1, "d5": 0, "d6": 0, "d7": 0}
    expected = mean_reciprocal_rank([row for row in rows[:-1] if row["split"] == "test"])
    assert scores(own)["map_at_1000"] == pytest.approx(expected, abs=1e-5)


def mean_reciprocal_rank(rows: Rows) -> float:
    """Equal to the mean average precision where each query has one right answer."""
    found = []
    for query in dict.fromkeys(row["question"] for row in rows):
        own = [row for row in rows if row["question"] == query]

        def cosine(row: dict[str, Any]) -> float:
            a, b = vector(row["question"]), vector(row["answer"])
            return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

        ranked = sorted(own, key=cosine, reverse=True)
        found.append(1 / (1 + [row["label"] for row in ranked].index(1)))
    return float(np.mean(found))


def test_a_pair_that_occurs_twice_is_one_candidate(tmp_path: Path) -> None:
    rows = [
        {"query": "cat", "document": name, "label": label} for name, label in (("a", 0), ("b", 1), ("a", 0), ("b", 0))
    ]
    write(tmp_path / "extra/twice.jsonl", rows)
    part = load(planned(tmp_path, reranking="twice")).data["default"]["test"]
    assert part["relevant_docs"] == {"q0": {"d0": 0, "d1": 1}}
    assert part["top_ranked"] == {"q0": ["d0", "d1"]}


def test_languages_are_said_of_an_own_set(tmp_path: Path) -> None:
    write(tmp_path / "extra/topics.jsonl", classes(random.Random(0)))
    assert planned(tmp_path, clustering="topics").task_class.metadata.eval_langs == ["eng-Latn"]
    german = planned(tmp_path, clustering="topics", languages=["deu-Latn"])
    assert german.task_class.metadata.eval_langs == ["deu-Latn"]
    with pytest.raises(DataError, match="clustering topics: found languages german; allowed: codes of language and"):
        planned(tmp_path, clustering="topics", languages=["german"])


GOOD = {"text": "red cat", "label": "a"}


@pytest.mark.parametrize(
    ("entry", "rows", "said"),
    [
        (
            {"clustering": "x"},
            [GOOD, {"text": " ", "label": "a"}],
            r"x\.jsonl:2: text \(column 'text'\): found a text of",
        ),
        (
            {"clustering": "x"},
            [GOOD, {"text": 3, "label": "a"}],
            r"x\.jsonl:2: text .*found 3 \(int\); allowed: a text",
        ),
        ({"clustering": "x"}, [GOOD, {"text": "red"}], r"x\.jsonl:2: label .*found no such cell"),
        ({"clustering": "x"}, [GOOD, [1]], r"x\.jsonl:2: found \[1\]; allowed: an object"),
        (
            {"clustering": "x"},
            [{"body": "red", "label": "a"}],
            r"x\.jsonl: lacks the column text; found: body, label; needed: text, label\. Say .*`columns: \{text: …",
        ),
        (
            {"clustering": "x", "columns": {"text": "b"}},
            [GOOD],
            r"x\.jsonl: lacks the column b \(text\); found: text, label",
        ),
        (
            {"clustering": "x", "columns": {"split": "part"}},
            [GOOD],
            r"has no column 'part'; found: text, label; correct",
        ),
        ({"clustering": "x", "split": "dev"}, [GOOD], r"is one file without a column 'split'.* needed: dev\. Add that"),
        ({"clustering": "x", "split": "dev"}, [{**GOOD, "split": "test"}], r"no row has the split dev; found: test\."),
        ({"classification": "x"}, [GOOD], r"without a column 'split', .*needed: train, test"),
        (
            {"sts": "x"},
            [{"sentence1": "red", "sentence2": "blue", "score": "high"}],
            r"x\.jsonl:1: score \(column 'score'\): found 'high'; allowed: a finite number",
        ),
        (
            {"pair_classification": "x"},
            [{"premise": "red", "hypothesis": "blue", "label": one} for one in ("yes", "no")],
            r"labels are no, yes; allowed: 0 and 1, or name .*: `positive: no`",
        ),
        (
            {"pair_classification": "x", "positive": "Yes"},
            [{"premise": "red", "hypothesis": "blue", "label": one} for one in ("yes", "no")],
            r"labels are no, yes; needed: Yes \(positive\) and at least one other",
        ),
        (
            {"reranking": "x"},
            [{"query": "red", "document": "a", "label": 1}, {"query": "blue", "document": "b", "label": 0}],
            r"no query has both a positive and another candidate",
        ),
        ({"clustering": "x"}, [GOOD], r"split test has 1 row; at least 2 rows are needed"),
        ({"clustering": "x"}, [GOOD, GOOD], r"split test has only one class in column labels; at least two"),
        ({"clustering": "x"}, [], r"x\.jsonl: found no rows; allowed: at least one"),
    ],
)
def test_faults_have_a_place(tmp_path: Path, entry: dict[str, Any], rows: Rows, said: str) -> None:
    write(tmp_path / "extra/x.jsonl", rows)
    task = planned(tmp_path, **entry)
    with pytest.raises(DataError, match=said):
        load(task)


def test_all_faults_of_a_file_at_once(tmp_path: Path) -> None:
    write(tmp_path / "extra/x.jsonl", [GOOD, {"text": "", "label": "a"}, {"text": "red", "label": None}])
    with pytest.raises(DataError) as caught:
        load(planned(tmp_path, clustering="x"))
    assert len(str(caught.value).splitlines()) == 2


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / f"extra/x/{split}.jsonl", [GOOD])
    with pytest.raises(DataError, match=r"x: .*split train has only one class in column label; at least two"):
        load(planned(tmp_path, classification="x"))


def test_a_missing_split_of_a_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path / "extra/x/test.jsonl", [GOOD])
    with pytest.raises(DataError, match=r"extra/x: no split train; found: test\. Add a file of that name"):
        load(planned(tmp_path, classification="x"))


def test_an_own_set_needs_a_name_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "extra/x.jsonl", classes(random.Random(0)))
    entries = (TaskEntry(clustering="x"), TaskEntry(clustering="./x.jsonl", name="y"))
    first, second = planned_tasks(Suite(name="x", tasks=entries, folder=tmp_path / "extra"), tmp_path)
    assert (first.name, second.name, first.data) == ("x", "y", second.data)
    write(tmp_path / "extra/STS13.jsonl", classes(random.Random(0)))
    with pytest.raises(
        RecipeError, match=r"tasks\[0\]: the name STS13 is that of a task of mteb; give another with `name`"
    ):
        planned(tmp_path, clustering="STS13")
