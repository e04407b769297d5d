"""Own sets as tasks of mteb: its abstract classes over local files, nothing else."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.languages import check_language_code

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.beir import read_beir
from matryoshka_text.evaluation.tasks.own_rows import OwnSet, Rows, as_numbers
from matryoshka_text.suite import ROLES, Kind, TaskEntry

__all__ = ["own_class", "own_languages", "read_candidates"]

log = logging.getLogger(__name__)

# The abstract class, mteb's name for the type, its category and its main score.
_TYPES: dict[Kind, tuple[Any, str, str, str]] = {
    "retrieval": (AbsTaskRetrieval, "Retrieval", "t2t", "ndcg_at_10"),
    "classification": (AbsTaskClassification, "Classification", "t2c", "accuracy"),
    "clustering": (AbsTaskClustering, "Clustering", "t2c", "v_measure"),
    "pair_classification": (AbsTaskPairClassification, "PairClassification", "t2t", "max_ap"),
    "reranking": (AbsTaskRetrieval, "Reranking", "t2t", "map_at_1000"),
    "sts": (AbsTaskSTS, "STS", "t2t", "cosine_spearman"),
}
# mteb would embed 4% of a clustering set, which is meant for sets of a million: up to as many as it draws at a time.
_ATTRIBUTES: dict[Kind, dict[str, Any]] = {
    "clustering": {"max_fraction_of_documents_to_embed": None, "max_document_to_embed": 16_384},
}


def own_class(entry: TaskEntry, files: Mapping[str, Path], place: Path, data: str) -> Any:
    """A task class of mteb over the entry's files, which are read by its `load_data`; `data` identifies them."""
    base, kind, category, score = _TYPES[entry.kind]
    split = entry.split or "test"
    own = OwnSet(files, ROLES.get(entry.kind, ()), entry.columns)

    def load_data(self: Any, num_proc: int | None = None, **kwargs: Any) -> None:
        if not self.data_loaded:
            retrieval = entry.kind == "retrieval"
            self.dataset = (
                {"default": {split: read_beir(place, split)}} if retrieval else _data(entry, own, split, place)
            )
            self.data_loaded = True

    body = {
        "__module__": __name__,
        "metadata": TaskMetadata(
            name=entry.name,
            description=f"Local set {entry.name}.",
            dataset={"path": str(place), "revision": data},
            type=kind,
            category=category,
            eval_splits=[split],
            eval_langs=own_languages(entry),
            main_score=score,
        ),
        "load_data": load_data,
        **_ATTRIBUTES.get(entry.kind, {}),
    }
    return type(f"Own{kind}", (base,), body)


def own_languages(entry: TaskEntry) -> list[str]:
    """The languages of an own set, English where the entry names none."""
    languages = list(entry.languages or ("eng-Latn",))
    try:
        for code in languages:
            check_language_code(code)
    except ValueError:
        languages = []
    if not languages or not all("-" in code for code in languages):
        raise DataError(
            f"{entry.kind} {entry.target}: found languages {', '.join(entry.languages or ())}; allowed: codes of "
            "language and script, such as eng-Latn or deu-Latn"
        )
    return languages


def _data(entry: TaskEntry, own: OwnSet, split: str, place: Path) -> Any:
    """The data as mteb's class for the entry's kind has them after loading."""
    from datasets import Dataset, DatasetDict

    if entry.kind == "retrieval":
        return {"default": {split: read_beir(place, split)}}
    if entry.kind == "reranking":
        return {"default": {split: read_candidates(own.read([split])[split], entry, place)}}
    splits = list(dict.fromkeys(["train", split])) if entry.kind == "classification" else [split]
    found = own.read(splits)
    if entry.kind == "classification":
        _whole_numbers(found)
    return DatasetDict({name: Dataset.from_dict(_columns(entry, rows, place)) for name, rows in found.items()})


def _columns(entry: TaskEntry, rows: Rows, place: Path) -> Rows:
    if entry.kind == "clustering":
        return {"sentences": rows["text"], "labels": rows["label"]}
    if entry.kind == "pair_classification":
        labels = _binary(rows["label"], entry.positive, place)
        return {"sentence1": rows["sentence1"], "sentence2": rows["sentence2"], "labels": labels}
    return rows


def _whole_numbers(found: dict[str, Rows]) -> None:
    """Labels as whole numbers, where those of every split are."""
    every = as_numbers([label for rows in found.values() for label in rows["label"]])
    start = 0
    for rows in found.values():
        stop = start + len(rows["label"])
        rows["label"] = every[start:stop]
        start = stop


def _binary(labels: list[str], positive: str | int | None, place: Path) -> list[int]:
    """1 for the positive label, 0 for the others."""
    found = sorted(set(labels))
    if positive is None and not set(found) <= {"0", "1"}:
        raise DataError(
            f"{place}: labels are {', '.join(found[:8])}; allowed: 0 and 1, or name the label of a pair that belongs "
            f"together: `positive: {found[0]}`"
        )
    wanted = str(1 if positive is None else positive)
    if wanted not in found or len(found) == 1:
        raise DataError(
            f"{place}: labels are {', '.join(found[:8])}; needed: {wanted} (positive) and at least one other label"
        )
    return [int(label == wanted) for label in labels]


def read_candidates(rows: Rows, entry: TaskEntry, place: Path) -> dict[str, Any]:
    """Queries, each with its candidates in the order of the file, as mteb's RetrievalSplitData.

    Queries without a positive or without a negative candidate are left out, as mteb does with its own reranking sets.
    """
    from datasets import Dataset

    labels = _binary(rows["label"], entry.positive, place)
    judged: dict[str, dict[str, int]] = {}
    for query, document, label in zip(rows["query"], rows["document"], labels, strict=True):
        of_query = judged.setdefault(query, {})
        of_query[document] = max(label, of_query.get(document, 0))
    useful = {query: found for query, found in judged.items() if len(set(found.values())) == 2}
    if not useful:
        raise DataError(f"{place}: no query has both a positive and another candidate; at least one has to")
    if len(useful) < len(judged):
        left = len(judged) - len(useful)
        log.info(
            "%s: %d of %d queries have only positive or only negative candidates: left out", place, left, len(judged)
        )
    ids = {
        text: f"d{number}" for number, text in enumerate(dict.fromkeys(text for one in useful.values() for text in one))
    }
    queries = {text: f"q{number}" for number, text in enumerate(useful)}
    return {
        "corpus": Dataset.from_list([{"id": ids[text], "title": "", "text": text} for text in ids]),
        "queries": Dataset.from_list([{"id": queries[text], "text": text} for text in queries]),
        "relevant_docs": {queries[one]: {ids[text]: of for text, of in found.items()} for one, found in useful.items()},
        "top_ranked": {queries[one]: [ids[text] for text in found] for one, found in useful.items()},
    }
