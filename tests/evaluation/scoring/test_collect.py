"""What mteb computes for each item, on tiny tasks of every type: scored by mteb, unchanged, and made of the items."""

import hashlib
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks import (
    AbsTaskBitextMining,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskClusteringLegacy,
    AbsTaskMultilabelClassification,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
    AbsTaskSummarization,
)
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from sklearn.metrics import average_precision_score

from matryoshka_text.evaluation.mteb_compat import own_data_cache
from matryoshka_text.evaluation.scoring.bootstrap import interval
from matryoshka_text.evaluation.scoring.collect import items_of, observed
from matryoshka_text.evaluation.scoring.items import read_items, write_items
from matryoshka_text.evaluation.tasks.loaded import LoadedTask, local_class
from matryoshka_text.evaluation.tasks.own_tasks import own_class
from matryoshka_text.suite import TaskEntry

WORDS = "cat dog bank card money street guitar red blue woman man playing running sleeping house".split()


class WordVectors(AbsEncoder):
    """Each text the sum of its words' random vectors, and a little of its own."""

    def __init__(self, seed: int = 0, dim: int = 6) -> None:
        self.seed, self.dim = seed, dim
        self.mteb_model_meta = ModelMeta.create_empty({"name": "test/words", "revision": f"{seed}-{dim}"})

    def encode(self, inputs: Any, **rest: Any) -> np.ndarray:
        return np.stack([self._vector(text) for text in inputs.dataset["text"][:]]).astype(np.float32)

    def _vector(self, text: str) -> np.ndarray:
        parts = [self._word(word) for word in text.split()] + [0.3 * self._word(text)]
        return np.sum(parts, axis=0)

    @cache  # noqa: B019
    def _word(self, word: str) -> np.ndarray:
        digest = hashlib.sha256(f"{self.seed} {word}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big")).normal(size=self.dim)


def sentence(rng: random.Random, length: int = 4) -> str:
    return " ".join(rng.choices(WORDS, k=length))


def small_task(base: Any, kind: str, main: str, data: Any, subsets: tuple[str, ...] = (), **body: Any) -> Any:
    """A task class of mteb's over `data`, which is a mapping from split to columns (by subset where there are some)."""

    def load_data(self: Any, **kwargs: Any) -> None:
        self.dataset, self.data_loaded = data, True

    metadata = TaskMetadata(
        name=f"Small{kind}", description="x", dataset={"path": "x/y", "revision": "1"}, type=kind,
        category="t2c" if kind in ("Classification", "Clustering", "MultilabelClassification") else "t2t",
        eval_splits=["test"], eval_langs={s: ["eng-Latn"] for s in subsets} if subsets else ["eng-Latn"],
        main_score=main,
    )  # fmt: skip
    return type(f"Small{kind}", (base,), {"metadata": metadata, "load_data": load_data, **body})


def split(**columns: list[Any]) -> DatasetDict:
    return DatasetDict({"test": Dataset.from_dict(columns)})


def sts(seed: int = 0, count: int = 40) -> DatasetDict:
    rng = random.Random(seed)
    first = [sentence(rng) for _ in range(count)]
    second = [one.rsplit(" ", rng.randint(0, 3))[0] + " " + rng.choice(WORDS) for one in first]
    return split(sentence1=first, sentence2=second, score=[rng.randint(0, 5) for _ in first])


def labelled(seed: int = 0, column: str = "label", text: str = "text") -> DatasetDict:
    rng = random.Random(seed)
    parts = {}
    for name, count in (("train", 12), ("test", 9)):
        labels = [label for label in range(3) for _ in range(count)]
        parts[name] = Dataset.from_dict({text: [f"{WORDS[n]} {sentence(rng, 2)}" for n in labels], column: labels})
    return DatasetDict(parts)


def pairs(seed: int = 0) -> DatasetDict:
    rng = random.Random(seed)
    first = [sentence(rng) for _ in range(30)]
    labels = [rng.randint(0, 1) for _ in first]
    second = [one if label and rng.random() < 0.5 else sentence(rng) for one, label in zip(first, labels, strict=True)]
    return split(sentence1=first, sentence2=second, labels=labels)


def retrieval(top_ranked: bool = False) -> dict[str, Any]:
    rng = random.Random(5)
    documents = [{"id": f"d{n}", "text": sentence(rng, 6), "title": ""} for n in range(30)]
    queries = [{"id": f"q{n}", "text": sentence(rng, 3)} for n in range(13)]
    judged = {
        f"q{n}": dict(zip(rng.sample(sorted(f"d{n}" for n in range(30)), 2), (1, 2), strict=True)) for n in range(11)
    }
    ranked = {query["id"]: [f"d{n}" for n in range(0, 30, 2)] + list(judged.get(query["id"], {})) for query in queries}
    part = {"corpus": Dataset.from_list(documents), "queries": Dataset.from_list(queries), "relevant_docs": judged}
    return {"default": {"test": {**part, "top_ranked": ranked if top_ranked else None}}}


def subqueries() -> dict[str, Any]:
    """Queries q<impression>_<number>, whose relevant documents are those of the impression."""
    data = retrieval(top_ranked=True)
    part = data["default"]["test"]
    names = {f"q{n}": f"q{n // 3}_{n % 3}" for n in range(13)}
    part["queries"] = Dataset.from_list([{**one, "id": names[one["id"]]} for one in part["queries"]])
    part["relevant_docs"] = {
        names[one]: part["relevant_docs"][f"q{int(one[1:]) // 3}"] for one in part["relevant_docs"]
    }
    part["top_ranked"] = {
        names[one]: sorted({*ranked, *part["relevant_docs"].get(names[one], {})})
        for one, ranked in part["top_ranked"].items()
    }
    return data


def summaries() -> DatasetDict:
    rng = random.Random(2)
    texts = [sentence(rng) for _ in range(12)]
    machine = [[sentence(rng) for _ in range(5)] for _ in texts]
    relevance = [[rng.randint(0, 5) for _ in range(5)] for _ in texts]
    relevance[3] = [2] * 5
    return split(text=texts, human_summaries=[[one] for one in texts], machine_summaries=machine, relevance=relevance)


def clusters(sets: bool) -> DatasetDict:
    rng = random.Random(4)
    labels = [n % 3 for n in range(60)]
    texts = [f"{WORDS[n]} {sentence(rng, 2)}" for n in labels]
    if not sets:
        return split(sentences=texts, labels=labels)
    cut = [slice(start, start + 20) for start in (0, 20, 40)]
    return split(sentences=[texts[one] for one in cut], labels=[labels[one] for one in cut])


FEW = {"n_experiments": 4, "samples_per_label": 6}
CLUSTERING = {"max_fraction_of_documents_to_embed": None, "max_documents_per_cluster": 30, "n_clusters": 5}
TASKS: dict[str, Callable[[], Any]] = {
    "sts": lambda: small_task(AbsTaskSTS, "STS", "cosine_spearman", sts()),
    "sts by euclidean distance": lambda: small_task(AbsTaskSTS, "STS", "euclidean_spearman", sts()),
    "sts by the model's similarity": lambda: small_task(AbsTaskSTS, "STS", "spearman", sts()),
    "subsets": lambda: small_task(
        AbsTaskSTS, "STS", "cosine_spearman", {"en": sts(1), "fr": sts(2, 25)}, subsets=("en", "fr")
    ),
    "summarization": lambda: small_task(
        AbsTaskSummarization, "Summarization", "cosine_spearman", summaries(), min_score=0, max_score=5
    ),
    "retrieval": lambda: small_task(AbsTaskRetrieval, "Retrieval", "ndcg_at_10", retrieval()),
    "first hit": lambda: small_task(AbsTaskRetrieval, "Retrieval", "mrr_at_10", retrieval()),
    "hit rate": lambda: small_task(AbsTaskRetrieval, "Retrieval", "hit_rate_at_5", retrieval()),
    "recall@1": lambda: small_task(AbsTaskRetrieval, "Retrieval", "accuracy", retrieval()),
    "reranking": lambda: small_task(AbsTaskRetrieval, "Reranking", "map_at_1000", retrieval(top_ranked=True)),
    "subqueries": lambda: small_task(
        AbsTaskRetrieval, "Reranking", "max_over_subqueries_map_at_1000", subqueries(),
        task_specific_scores=type(mteb.get_task("MindSmallReranking")).task_specific_scores,
    ),
    "classification": lambda: small_task(AbsTaskClassification, "Classification", "accuracy", labelled(), **FEW),
    "cross-validation": lambda: small_task(
        AbsTaskClassification, "Classification", "accuracy", split(**labelled()["train"].shuffle(1)[:25]), **FEW,
        is_cross_validation=True, n_splits=4, train_split="test",
    ),
    "several labels": lambda: small_task(
        AbsTaskMultilabelClassification, "MultilabelClassification", "accuracy",
        labelled().map(lambda row: {"label": [row["label"], 3] if row["label"] else [0]}), **FEW,
    ),
    "pairs": lambda: small_task(AbsTaskPairClassification, "PairClassification", "max_ap", pairs()),
    "pairs by distance": lambda: small_task(AbsTaskPairClassification, "PairClassification", "manhattan_ap", pairs()),
    "clustering": lambda: small_task(AbsTaskClustering, "Clustering", "v_measure", clusters(False), **CLUSTERING),
    "clustering of sets": lambda: small_task(AbsTaskClusteringLegacy, "Clustering", "v_measure", clusters(True)),
}  # fmt: skip
WITHOUT = {
    "f1": lambda: small_task(AbsTaskClassification, "Classification", "f1", labelled(), **FEW),
    "best accuracy of pairs": lambda: small_task(
        AbsTaskPairClassification, "PairClassification", "max_accuracy", pairs()
    ),
    "pearson": lambda: small_task(AbsTaskSTS, "STS", "cosine_pearson", sts()),
    "a score of the class's own": lambda: small_task(
        AbsTaskRetrieval, "Retrieval", "own", retrieval(), task_specific_scores=lambda self, *a, **k: {"own": 0.5}
    ),
    "the same name, computed otherwise": lambda: small_task(
        AbsTaskRetrieval, "Retrieval", "ndcg_at_10", retrieval(),
        task_specific_scores=lambda self, *a, **k: {"ndcg_at_10": 0.123},
    ),
    "translations": lambda: small_task(
        AbsTaskBitextMining, "BitextMining", "f1",
        split(**{name: sts()["test"][name] for name in ("sentence1", "sentence2")}),
    ),
}  # fmt: skip


def scored(task_class: Any, encoder: Any = None, folder: Path | None = None) -> tuple[Any, Any]:
    """The task object and mteb's result."""
    task = task_class()
    result = mteb.evaluate(
        encoder or WordVectors(), task, cache=None, co2_tracker=False, show_progress_bar=False,
        encode_kwargs={"batch_size": 8}, prediction_folder=folder,
    )  # fmt: skip
    return task, result.task_results[0]


def without_times(result: Any) -> Any:
    return result.model_dump(exclude={"evaluation_time", "date", "evaluation_phases"})["scores"]


@pytest.mark.parametrize("name", TASKS)
def test_the_items_give_mtebs_score_and_change_nothing(name: str, tmp_path: Path) -> None:
    original = TASKS[name]()
    collecting = observed(original)
    assert issubclass(collecting, original)
    assert (collecting.__name__, collecting.__module__) == (original.__name__, original.__module__)
    task, result = scored(collecting)
    assert without_times(result) == without_times(scored(original)[1])
    items = items_of(task, result, "test")
    assert items is not None
    assert items.score() == pytest.approx(result.get_score(splits=["test"]), abs=1e-6)
    assert len(items.parts) == (2 if name == "subsets" else 1)
    path = tmp_path / "items.safetensors"
    write_items(path, items)
    again = read_items(path)
    assert again is not None and again.pairs_with(items) and again.score() == items.score()


@pytest.mark.parametrize("name", WITHOUT)
def test_other_main_scores_have_no_items(name: str) -> None:
    task, result = scored(observed(WITHOUT[name]()))
    assert items_of(task, result, "test") is None


def test_a_task_that_collects_nothing_has_no_items() -> None:
    task, result = scored(TASKS["sts"]())
    assert items_of(task, result, "test") is None


def test_one_item_each() -> None:
    counts = {"sts": 40, "retrieval": 11, "classification": 27, "pairs": 30, "clustering": 5, "clustering of sets": 3}
    counts |= {"cross-validation": 25, "several labels": 27, "summarization": 11}
    for name, count in counts.items():
        task, result = scored(observed(TASKS[name]()))
        items = items_of(task, result, "test")
        assert items is not None and items.parts[0].values.shape[1] == count, name


def test_the_numbers_are_mtebs_own() -> None:
    task, result = scored(observed(TASKS["pairs"]()))
    items = items_of(task, result, "test")
    assert items is not None
    (part,) = items.parts
    assert part.gold is not None and part.gold.tolist() == list(pairs()["test"]["labels"])
    by_kind = result.scores["test"][0]
    kinds = ("cosine", "manhattan", "euclidean", "similarity", "dot")
    for row, kind in zip(part.values, kinds, strict=True):
        assert average_precision_score(part.gold, row) == pytest.approx(by_kind[f"{kind}_ap"], abs=1e-12)


@pytest.mark.parametrize("name", ["sts", "retrieval", "classification", "pairs", "clustering", "summarization"])
def test_the_same_items_for_every_model_and_dim(name: str) -> None:
    collecting = observed(TASKS[name]())
    found = []
    for encoder in (WordVectors(0), WordVectors(0, dim=2), WordVectors(7)):
        task, result = scored(collecting, encoder)
        items = items_of(task, result, "test")
        assert items is not None
        found.append(items)
    assert found[0].pairs_with(found[1]) and found[0].pairs_with(found[2])
    assert found[0].score() != found[1].score()


def test_other_items_do_not_pair() -> None:
    found = []
    for seed in (0, 1):
        task, result = scored(observed(small_task(AbsTaskSTS, "STS", "cosine_spearman", sts(seed))))
        items = items_of(task, result, "test")
        assert items is not None
        found.append(items)
    assert not found[0].pairs_with(found[1])


def clustering(name: str = "One", subset: str = "default", labels: int = 3, sets: bool = False) -> Any:
    """The items of a task of that name, whose texts have so many labels."""
    data = clusters(sets)
    data = data.map(lambda row: {"labels": [one % labels for one in row["labels"]] if sets else row["labels"] % labels})
    base, body = (AbsTaskClusteringLegacy, {}) if sets else (AbsTaskClustering, CLUSTERING)
    named = {} if subset == "default" else {"subsets": (subset,)}
    given = data if subset == "default" else {subset: data}
    made = small_task(base, "Clustering", "v_measure", given, **named, **body)
    made.metadata = made.metadata.model_copy(update={"name": name})
    task, result = scored(observed(made))
    found = items_of(task, result, "test")
    assert found is not None
    return found


@pytest.mark.parametrize("sets", [False, True])
def test_clustering_tasks_are_told_apart_though_all_have_as_many_experiments(sets: bool) -> None:
    first = clustering(sets=sets)
    assert first.pairs_with(clustering(sets=sets))
    others = [clustering(sets=sets, **changes) for changes in ({"name": "Two"}, {"labels": 2}, {"subset": "fr"})]
    assert [len(one.parts[0].values[0]) for one in others] == [len(first.parts[0].values[0])] * 3
    assert not any(first.pairs_with(one) for one in others)
    # Nor are the same experiments drawn for both.
    assert len({one.parts[0].identity[:16] for one in (first, *others)}) == 4


def test_nothing_is_written_where_predictions_are_asked_for_only_to_be_read(tmp_path: Path) -> None:
    task, result = scored(observed(TASKS["summarization"]()), folder=tmp_path / "predictions")
    assert items_of(task, result, "test") is not None
    assert not (tmp_path / "predictions").exists()


REAL = {
    "STSBenchmark": ("mteb/mteb__stsbenchmark-sts", 1379),
    "SICK-R": ("mteb/mteb__sickr-sts", 9927),
    "EmotionClassification": ("mteb/mteb__emotion", 2000),
    "cranfield": ("extra/cranfield", 225),
}


@pytest.mark.parametrize("name", REAL)
def test_real_tasks(name: str, data_root: Path, tmp_path: Path) -> None:
    place, count = REAL[name]
    folder = data_root / place
    if place.startswith("mteb/"):
        original = local_class(type(mteb.get_task(name)), folder, "f" * 64)
    else:
        original = own_class(TaskEntry(retrieval=name), {}, folder, "f" * 64)
    task_class = observed(original)
    with own_data_cache("f" * 64):
        loaded = LoadedTask(lambda: task_class().filter_eval_splits(["test"]))
    task = loaded.fresh()
    _, result = scored(lambda: task, WordVectors(dim=16))
    items = items_of(task, result, "test")
    assert items is not None and items.parts[0].values.shape == (1, count)
    assert items.score() == pytest.approx(result.get_score(splits=["test"]), abs=1e-6)
    low, high = interval(items, seed=0)
    assert low < 100 * items.score() < high < low + 15
