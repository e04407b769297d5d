"""What mteb's classes read of their data: splits, and columns by what has to be in them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from mteb.abstasks import (
    AbsTaskBitextMining,
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskClusteringLegacy,
    AbsTaskMultilabelClassification,
    AbsTaskPairClassification,
    AbsTaskRegression,
    AbsTaskRetrieval,
    AbsTaskSTS,
    AbsTaskSummarization,
)

__all__ = ["Cell", "Needs", "needs_of"]

Cell = Literal["text", "texts", "number", "numbers", "label", "labels", "label or labels", "0 or 1"]


@dataclass(frozen=True)
class Needs:
    """Splits that are read and columns with what is in their cells.

    `train`: the split a classifier is fitted on, which has to hold two classes; `classes`: a column that has to hold
    two in every split. `aligned`: columns of lists that are of one length, row by row. `rows`: the least number of
    rows. `one_row`: older sets have all pairs as lists in one row. `in_one`: all subsets are columns of one set.
    `retrieval`: corpus, queries and judgements; with `candidates` ranked.
    """

    splits: tuple[str, ...]
    columns: dict[str, Cell] = field(default_factory=dict)
    train: str | None = None
    classes: str | None = None
    aligned: tuple[str, ...] = ()
    rows: int = 1
    one_row: bool = False
    in_one: bool = False
    retrieval: bool = False
    candidates: bool = False


def needs_of(task: Any) -> Needs:
    """What scoring that task object will read; only splits for a class that is not known here."""
    splits = tuple(task.eval_splits)
    for base, needs in _BY_CLASS.items():
        if isinstance(task, base):
            return needs(task, splits)
    return Needs(splits)


def _retrieval(task: Any, splits: tuple[str, ...]) -> Needs:
    return Needs(splits, retrieval=True, candidates=task.metadata.type in ("Reranking", "InstructionReranking"))


def _sts(task: Any, splits: tuple[str, ...]) -> Needs:
    first, second = task.column_names
    return Needs(splits, {first: "text", second: "text", "score": "number"})


def _classified(cell: Cell) -> Any:
    def needs(task: Any, splits: tuple[str, ...]) -> Needs:
        text = task.input_column_name
        columns: dict[str, Cell] = {one: "text" for one in ([text] if isinstance(text, str) else text)}
        columns[task.label_column_name] = cell
        fitted = task.train_split
        return Needs(tuple(dict.fromkeys([fitted, *splits])), columns, train=fitted if cell == "label" else None)

    return needs


def _clustering(task: Any, splits: tuple[str, ...]) -> Needs:
    share = task.max_fraction_of_documents_to_embed
    # mteb embeds int(share * rows) texts.
    rows = next(n for n in range(2, 10**6) if int(share * n) >= 1) if share else 2
    label = task.label_column_name
    return Needs(splits, {task.input_column_name: "text", label: "label or labels"}, rows=rows, classes=label)


def _clustering_legacy(task: Any, splits: tuple[str, ...]) -> Needs:
    text, label = task.input_column_name, task.label_column_name
    return Needs(splits, {text: "texts", label: "labels"}, aligned=(text, label))


def _pairs(task: Any, splits: tuple[str, ...]) -> Needs:
    texts: dict[str, Cell] = {task.input1_column_name: "text", task.input2_column_name: "text"}
    return Needs(splits, {**texts, task.label_column_name: "0 or 1"}, one_row=True)


def _summaries(task: Any, splits: tuple[str, ...]) -> Needs:
    machine, relevance = task.machine_summaries_column_name, task.relevancy_column_name
    columns: dict[str, Cell] = {
        task.text_column_name: "text",
        task.human_summaries_column_name: "texts",
        machine: "texts",
        relevance: "numbers",
    }
    return Needs(splits, columns, aligned=(machine, relevance))


def _bitext(task: Any, splits: tuple[str, ...]) -> Needs:
    pairs = task._get_pairs(task.parallel_subsets)
    columns: dict[str, Cell] = {column: "text" for pair in pairs for column in pair}
    # BUCC has pairs as lists in one row, ragged.
    return Needs(splits, columns, one_row=True, in_one=task.parallel_subsets)


# The most particular class first: regression and several labels are kinds of classification to mteb.
_BY_CLASS: dict[Any, Any] = {
    AbsTaskRetrieval: _retrieval,
    AbsTaskSTS: _sts,
    AbsTaskRegression: _classified("number"),
    AbsTaskMultilabelClassification: _classified("labels"),
    AbsTaskClassification: _classified("label"),
    AbsTaskClustering: _clustering,
    AbsTaskClusteringLegacy: _clustering_legacy,
    AbsTaskPairClassification: _pairs,
    AbsTaskSummarization: _summaries,
    AbsTaskBitextMining: _bitext,
}
