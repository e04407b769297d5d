"""Items taken from mteb's own task classes while they score: every score stays as it is."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskClusteringLegacy,
    AbsTaskMultilabelClassification,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
    AbsTaskSummarization,
)

from matryoshka_text.evaluation.mteb_compat import SUBSET_METHODS
from matryoshka_text.evaluation.scoring.items import Items, Part

__all__ = ["LabelledSplit", "items_of", "observed"]

_STORE = "_items_by_place"
# mteb rounds the means over queries to five digits; and what pytrec_eval calls each metric.
_DIGITS = 5
_PER_QUERY = {"ndcg": "ndcg_cut_", "map": "map_cut_", "recall": "recall_", "precision": "P_", "hit_rate": "success_"}
_MERGED = "max_over_subqueries_map"
_SIMILARITIES = {
    "cosine": ("cosine_scores", 1),
    "manhattan": ("manhattan_distances", -1),
    "euclidean": ("euclidean_distances", -1),
    "similarity": ("similarity_scores", 1),
    "dot": ("dot_scores", 1),
}

Call = tuple[Any, ...]
Scores = dict[str, Any]


def observed(task_class: Any) -> Any:
    """The task class with memory: after mteb has scored an object of it, `items_of` gives what it was scored on.

    Kept for the main score, where that is: Spearman's correlation (STS); the mean over texts of Spearman's correlation
    (summarization); any mean over queries (retrieval, reranking); accuracy (classification, each text's mean over the
    experiments; whether all labels are right, where there are several); average precision (pair classification);
    V-measure (clustering: of each experiment, or of each set of the older tasks, not of each text). Of other tasks and
    main scores nothing is kept. Classification is given its data as `LabelledSplit`s, which changes no score.
    """
    found = next((kind for kind in _KINDS if issubclass(task_class, kind[0])), None)
    if found is None:
        return task_class
    _, hook, build = found
    body = {
        name: _framed(getattr(task_class, name), hook, build) for name in SUBSET_METHODS if hasattr(task_class, name)
    }
    if hook is not None:
        body[hook] = _noted(getattr(task_class, hook), hook)
    return type(task_class.__name__, (task_class,), {**body, "__module__": task_class.__module__})


def items_of(task: Any, result: Any, split: str) -> Items | None:
    """The items behind `result.get_score(splits=[split])`, `result` being mteb's for this task object.

    A part for each subset, as the score is their mean. None if a subset has none.
    """
    kept = getattr(task, _STORE, {})
    parts = [kept.get((split, scores["hf_subset"])) for scores in result.scores[split]]
    known = tuple(part for part in parts if part is not None)
    return Items(known) if known and len(known) == len(parts) else None


class LabelledSplit:
    """A data split whose label column is an array and whose other columns are lists; otherwise the split itself.

    mteb reads labels and texts through lazy columns of `datasets`, one Python object at a time, and the labels about 40
    times an experiment: 87% of the seconds of scoring (Banking77, 6 dims, 2026: 15.7 CPU s, 4.2 with labels as arrays).
    """

    def __init__(self, split: Any, column: str, labels: np.ndarray | None = None) -> None:
        self._split = split
        self._column = column
        self._labels = np.asarray(split[column][:]) if labels is None else labels

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, key: Any) -> Any:
        if key == self._column:
            return self._labels
        return self._split[key][:] if isinstance(key, str) else self._split[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._split, name)

    def select(self, rows: Any) -> "LabelledSplit":
        """Those rows, labels as an array."""
        rows = np.asarray(rows)
        return LabelledSplit(self._split.select(rows), self._column, self._labels[rows])


def _framed(original: Any, hook: str | None, build: Callable[[Any, list[Call], Scores], Part | None]) -> Any:
    """The method that scores one subset, its items kept under split and subset.

    `build` gets the hook's calls, or, where there is no hook, the method's own: model, data and subset.
    """

    def method(self: Any, *args: Any, hf_split: str, hf_subset: str, **kwargs: Any) -> Any:
        if _has_one_label(self):
            model, data = args
            args = (model, {split: LabelledSplit(rows, self.label_column_name) for split, rows in data.items()})
        if hook == "_save_task_predictions":
            kwargs["prediction_folder"] = Path()  # asks for the call; ours writes nothing
        self._noted_calls = [] if hook else [(*args, hf_subset)]
        scores = original(self, *args, hf_split=hf_split, hf_subset=hf_subset, **kwargs)
        calls = self.__dict__.pop("_noted_calls")
        part = build(self, calls, scores)
        kept = self.__dict__.setdefault(_STORE, {})
        kept[hf_split, hf_subset] = part if part is not None and _gives(part, scores[_main(self)]) else None
        return scores

    return method


def _has_one_label(task: Any) -> bool:
    """Whether it classifies: several labels a text make no array."""
    return isinstance(task, AbsTaskClassification) and not isinstance(task, AbsTaskMultilabelClassification)


def _noted(original: Any, hook: str) -> Any:
    """The method with its arguments noted for the time of one subset."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._noted_calls.append(args)
        return None if hook == "_save_task_predictions" else original(self, *args, **kwargs)

    return method


def _main(task: Any) -> str:
    return str(task.metadata.main_score)


def _gives(part: Part, score: float) -> bool:
    """Whether the items make the score: a task class may compute it in a way of its own."""
    return abs(part.score() - float(score)) <= (1e-6 if part.digits is None else 1.1 * 10**-part.digits)


def _similarities(task: Any, calls: list[Call], scores: Scores) -> Part | None:
    """STS: the similarity that the main score is a rank correlation of. mteb turns no distance round, nor do we."""
    before, _, metric = _main(task).rpartition("_")
    key, _ = _SIMILARITIES.get(before or "similarity", (None, 0))
    if metric != "spearman" or key is None:
        return None
    values, gold = calls[-1][0].get(key), np.asarray(calls[-1][1], dtype=np.float64)
    return None if values is None else Part("spearman", _row(values), _digest("spearman", gold.tobytes()), gold)


def _summaries(task: Any, calls: list[Call], scores: Scores) -> Part | None:
    """Summarization: each text's rank correlation over its summaries; texts whose summaries are all equal are out."""
    from scipy.stats import spearmanr

    key = {"cosine_spearman": "cosine_scores", "dot_spearman": "dot_scores", "spearman": "similarity_scores"}
    if _main(task) not in key:
        return None
    found = calls[-1][0]
    human, machine = found["human_scores"], found[key[_main(task)]]
    each = [float(spearmanr(*pair)[0]) for pair in zip(human, machine, strict=True)]
    return Part("mean", _row(each), _digest("texts", repr(human)))


def _queries(task: Any, calls: list[Call], scores: Scores) -> Part | None:
    """Retrieval and reranking: each query's value of the main score, by query id."""
    by_query, qrels, results = calls[-1][:3]
    name = "recall_at_1" if _main(task) == "accuracy" else _main(task)
    found = re.fullmatch(r"(\w+)_at_(\d+)", name)
    if found is None:
        return None
    metric, k = found[1], int(found[2])
    digits: int | None = _DIGITS
    if metric == "mrr":
        values = {query: _reciprocal_rank(qrels[query], ranked, k) for query, ranked in results.items()}
        digits = None
    elif metric == _MERGED:
        values = _merged_precisions(qrels, results, k)
    elif metric in _PER_QUERY:
        values = {query: one[f"{_PER_QUERY[metric]}{k}"] for query, one in by_query.items()}
    else:
        return None
    ids = sorted(values)
    return Part("mean", _row([values[one] for one in ids]), _digest(metric, repr(ids)), digits=digits)


def _reciprocal_rank(judged: dict[str, int], scores: dict[str, float], k: int) -> float:
    """1 / the place of the first relevant document among the best k, 0 if none is; equal scores by id, downwards."""
    ranked = sorted(scores, key=lambda one: (scores[one], one), reverse=True)[:k]
    return next((1 / place for place, one in enumerate(ranked, start=1) if judged.get(one, 0) > 0), 0.0)


def _merged_precisions(qrels: Any, results: Any, k: int) -> dict[str, float]:
    """MindSmallReranking: the average precision among the best k of each impression, whose subqueries are merged.

    A document counts with its highest score; the subqueries of an impression have one list of relevant documents.
    """
    merged: dict[str, dict[str, float]] = {}
    judged: dict[str, dict[str, int]] = {}
    for query in qrels:
        impression = query.rpartition("_")[0]
        scores = merged.setdefault(impression, {})
        for document, score in results[query].items():
            scores[document] = max(score, scores.get(document, score))
        judged[impression] = qrels[query]
    return {one: _average_precision(judged[one], scores, k) for one, scores in merged.items()}


def _average_precision(judged: dict[str, int], scores: dict[str, float], k: int) -> float:
    ranked = sorted(scores, key=lambda one: (scores[one], one), reverse=True)[:k]
    hits = [place for place, one in enumerate(ranked, start=1) if judged.get(one, 0) > 0]
    relevant = sum(value > 0 for value in judged.values())
    return sum(number / place for number, place in enumerate(hits, start=1)) / max(relevant, 1)


def _texts(task: Any, calls: list[Call], scores: Scores) -> Part | None:
    """Classification: how often each text's label was right.

    In cross-validation each text is in one of the folds, whose accuracies count alike whatever their sizes.
    """
    if _main(task) != "accuracy":
        return None
    pairs = [(np.asarray(call[0]), np.asarray(call[1])) for call in calls]
    same = [truth == predicted for truth, predicted in pairs]
    right = [one if one.ndim == 1 else one.all(axis=1) for one in same]
    folds = getattr(task, "is_cross_validation", False)
    truths = [truth.tolist() for truth, _ in (pairs if folds else pairs[:1])]
    total = sum(map(len, right))
    values = np.concatenate([one * total / (len(right) * len(one)) for one in right]) if folds else np.mean(right, 0)
    return Part("mean", _row(values), _digest("texts", repr(truths)))


def _pairs(task: Any, calls: list[Call], scores: Scores) -> Part | None:
    """Pair classification: the similarities that the average precision is of, or the highest is looked for in."""
    before, _, metric = _main(task).rpartition("_")
    wanted = list(_SIMILARITIES) if before == "max" else [before]
    if metric != "ap" or not set(wanted) <= set(_SIMILARITIES):
        return None
    found, labels = calls[-1][:2]
    rows = [sign * np.asarray(found[key], dtype=np.float64) for key, sign in map(_SIMILARITIES.__getitem__, wanted)]
    gold = np.asarray(labels, dtype=np.float64)
    return Part("precision", np.stack(rows), _digest("pairs", gold.tobytes()), gold)


def _experiments(task: Any, calls: list[Call], scores: Scores) -> Part | None:
    """Clustering: the V-measure of each experiment, level by level, or of each set."""
    each = scores.get("v_measures")
    if _main(task) != "v_measure" or each is None:
        return None
    levels = each if isinstance(each, dict) else {"": each}
    values = [one for level in levels.values() for one in level]
    counts = {name: len(one) for name, one in levels.items()}
    # Most tasks have ten experiments: their number by itself would tell no task from another.
    _, data, subset = calls[-1]
    what = (task.metadata.name, subset, len(data), data[task.label_column_name][:])
    return Part("mean", _row(values), _digest("clusterings", repr((counts, *what))))


def _row(values: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)[None, :]


def _digest(kind: str, what: str | bytes) -> str:
    return hashlib.sha256(f"{kind}\0".encode() + (what if isinstance(what, bytes) else what.encode())).hexdigest()


_KINDS: tuple[tuple[Any, str | None, Callable[[Any, list[Call], Scores], Part | None]], ...] = (
    (AbsTaskSTS, "_calculate_scores", _similarities),
    (AbsTaskRetrieval, "task_specific_scores", _queries),
    (AbsTaskClassification, "_calculate_scores", _texts),
    (AbsTaskPairClassification, "_compute_metrics", _pairs),
    (AbsTaskClustering, None, _experiments),
    (AbsTaskClusteringLegacy, None, _experiments),
    (AbsTaskSummarization, "_save_task_predictions", _summaries),
)
