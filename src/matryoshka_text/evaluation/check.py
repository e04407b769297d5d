"""A task's loaded data: are the splits and columns there that scoring will read?"""

from typing import Any

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks import LoadedTask

__all__ = ["require_readable"]


def require_readable(loaded: LoadedTask, place: str) -> None:
    """`DataError` naming the split or the column that the task needs and `place` lacks."""
    from mteb.abstasks import AbsTaskClassification
    from mteb.abstasks.sts import AbsTaskSTS

    task = loaded.fresh()
    splits, columns = list(task.eval_splits), []
    if isinstance(task, AbsTaskSTS):
        columns = [column for column in task.column_names if isinstance(column, str)] + ["score"]
    elif isinstance(task, AbsTaskClassification):
        splits = list(dict.fromkeys([task.train_split, *splits]))
        text = task.input_column_name
        columns = [*([text] if isinstance(text, str) else text), task.label_column_name]
    for part in _parts(loaded, task.hf_subsets):
        _require(part, splits, columns, f"{task.metadata.name}: {place}")


def _parts(loaded: LoadedTask, subsets: list[str]) -> list[Any]:
    """The data by split: one mapping a subset."""
    data = loaded.data or {}
    return [data[subset] for subset in subsets if subset in data] or [data]


def _require(part: Any, splits: list[str], columns: list[str], place: str) -> None:
    lacking = [split for split in splits if split not in part]
    if lacking:
        raise DataError(
            f"{place}: no split {', '.join(lacking)}; found: {', '.join(part)}. "
            "Add a file of that name (test.jsonl, …), or name another split in the suite"
        )
    for split in splits:
        found = getattr(part[split], "column_names", None)
        if found is None:
            continue
        wrong = [column for column in columns if column not in found]
        if wrong:
            raise DataError(f"{place}: split {split} lacks the column {', '.join(wrong)}; found: {', '.join(found)}")
        if not len(part[split]):
            raise DataError(f"{place}: split {split} is empty; at least one row is needed")
