"""A task's loaded data: are the splits, columns, texts and labels there that scoring will read?"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.loaded import LoadedTask
from matryoshka_text.evaluation.tasks.needs import Cell, Needs, needs_of

__all__ = ["column_faults", "require_readable"]


def require_readable(loaded: LoadedTask, place: str) -> None:
    """`DataError` with a line for all that the task needs and `place` lacks: splits, columns, rows, texts, labels."""
    task = loaded.fresh()
    faults = list(dict.fromkeys(_faults(task)))
    if faults:
        raise DataError("\n  ".join(f"{task.metadata.name}: {place}: {fault}" for fault in faults))


def _faults(task: Any) -> Iterator[str]:
    needs = needs_of(task)
    for subset, part in _parts(task, needs):
        of_subset = f"subset {subset}, " if subset else ""
        if part is None:
            yield f"no subset {subset}; found: {_listed(task.dataset)}. Fetch the whole set, or leave the subset out"
            continue
        lacking = [split for split in needs.splits if split not in part]
        if lacking:
            yield (
                f"{of_subset}no split {', '.join(lacking)}; found: {_listed(part)}. "
                "Add a file of that name (test.jsonl, …), or name another split in the suite"
            )
        for split in needs.splits:
            if split in part:
                check = _retrieval_faults if needs.retrieval else column_faults
                yield from (f"{of_subset}split {split} {fault}" for fault in check(part[split], needs, split))


def _parts(task: Any, needs: Needs) -> Iterator[tuple[str, Any]]:
    """The data by split, one mapping a subset; None for a subset that is not there."""
    data = task.dataset or {}
    subsets = [] if needs.in_one else list(task.hf_subsets or ())
    if not subsets or (subsets == ["default"] and "default" not in data):
        yield "", data
        return
    for subset in subsets:
        yield ("" if subset == "default" else subset), data.get(subset)


def _retrieval_faults(part: Mapping[str, Any], needs: Needs, split: str) -> Iterator[str]:
    for name in ("corpus", "queries"):
        columns = part[name].column_names
        lacking = [column for column in ("id", "text") if column not in columns]
        if lacking:
            yield f"of its {name} lacks the column {', '.join(lacking)}; found: {', '.join(columns)}"
        elif not len(part[name]):
            yield f"has no {name}" + (" that are judged; the ids must be the same" if name == "queries" else "")
    if not part["relevant_docs"]:
        yield "has no judgements"
    elif len(part["corpus"]) and "id" in part["corpus"].column_names:
        judged = {document for documents in part["relevant_docs"].values() for document in documents}
        if judged.isdisjoint(part["corpus"]["id"][:]):
            yield "judges no document of its corpus; the ids must be the same"
    yield from _candidate_faults(part, needs)


def _candidate_faults(part: Mapping[str, Any], needs: Needs) -> Iterator[str]:
    candidates = part.get("top_ranked")
    if not needs.candidates or "id" not in part["queries"].column_names:
        return
    if not candidates:
        yield "has no candidates to be ranked (config top_ranked: query-id, corpus-ids)"
        return
    without = [query for query in part["queries"]["id"][:] if not candidates.get(query)]
    if without:
        yield f"has no candidates for {len(without)} queries ({', '.join(map(str, without[:3]))})"


def _listed(names: Any) -> str:
    found = list(map(str, names))
    return ", ".join(found[:12]) + (", …" if len(found) > 12 else "") if found else "none"


def column_faults(split: Any, needs: Needs, name: str) -> Iterator[str]:
    """What the split lacks or has that is wrong, in words that follow its name; nothing for what is no `Dataset`."""
    if not isinstance(split, Dataset):
        return
    lacking = [column for column in needs.columns if column not in split.column_names]
    if lacking:
        yield f"lacks the column {', '.join(lacking)}; found: {', '.join(split.column_names)}"
    if len(split) < needs.rows:
        found = f"has {len(split)} row{'' if len(split) == 1 else 's'}" if len(split) else "is empty"
        yield f"{found}; at least {'one row is' if needs.rows == 1 else f'{needs.rows} rows are'} needed"
        return
    if (
        needs.one_row
        and len(split) == 1
        and not lacking
        and _is_list(split.features.arrow_schema.field(next(iter(needs.columns))).type)
    ):
        split = Dataset.from_dict({column: split[0][column] for column in needs.columns})
    table = split.with_format("arrow")[:]
    for column, cell in needs.columns.items():
        if column in split.column_names:
            yield from _cell_faults(table[column], column, cell)
    label = list(needs.columns)[-1] if needs.train == name else needs.classes
    # Of several levels of labels one may be alike throughout.
    if label is not None and not lacking and not _is_list(table[label].type) and len(pc.unique(table[label])) < 2:
        yield f"has only one class in column {label}; at least two are needed"
    if needs.aligned and not lacking:
        yield from _ragged(table, needs.aligned)


def _cell_faults(cells: pa.ChunkedArray, column: str, cell: Cell) -> Iterator[str]:
    if not _KINDS[cell](cells.type):
        yield f"has {_in_words(cells.type)} in column {column}; needed: {cell}"
        return
    if cells.null_count:
        yield f"has {cells.null_count} rows without a value in column {column}, the first is row {_first_null(cells)}"
    elif _is_list(cells.type) and (inner := pc.list_flatten(cells)).null_count:
        yield f"has {inner.null_count} empty items in the lists of column {column}"
    yield from _unfinite(cells, column)
    if cell == "0 or 1":
        found = sorted(value for value in pc.unique(cells).to_pylist() if value is not None)
        if found != [0, 1]:
            listed = ", ".join(map(str, found[:8]))
            yield f"has the labels {listed} in column {column}; needed: 0 and 1, both of them"


def _unfinite(cells: pa.ChunkedArray, column: str) -> Iterator[str]:
    lists = cells.combine_chunks() if _is_list(cells.type) else None
    numbers = cells if lists is None else pc.list_flatten(lists)
    if not pa.types.is_floating(numbers.type):
        return
    # Null is no answer, and a fault of its own.
    wrong = pc.fill_null(pc.invert(pc.is_finite(numbers)), False)
    if count := pc.sum(wrong).as_py():
        first = pc.index(wrong, True).as_py()
        if lists is not None:
            first = pc.list_parent_indices(lists)[first].as_py()
        yield (
            f"has NaN or infinity in {count} cell{'' if count == 1 else 's'} of column {column}, the first in row "
            f"{first + 1}; needed: finite numbers"
        )


def _ragged(table: pa.Table, columns: tuple[str, ...]) -> Iterator[str]:
    if not all(_is_list(table[column].type) for column in columns):
        return
    first, second = (pc.list_value_length(table[column]) for column in columns)
    other = pc.index(pc.not_equal(first, second), True).as_py()
    if other >= 0:
        yield f"has lists of different lengths in columns {' and '.join(columns)}, the first in row {other + 1}"


def _first_null(cells: pa.ChunkedArray) -> int:
    return int(pc.index(pc.is_null(cells), True).as_py()) + 1


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_label(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_number(kind)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _list_of(inner: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    return lambda kind: _is_list(kind) and inner(kind.value_type)


_KINDS: dict[Cell, Callable[[pa.DataType], bool]] = {
    "text": _is_text,
    "texts": _list_of(_is_text),
    "number": _is_number,
    "numbers": _list_of(_is_number),
    "label": _is_label,
    "labels": _list_of(_is_label),
    "label or labels": lambda kind: _is_label(kind) or _list_of(_is_label)(kind),
    "0 or 1": _is_number,
}


def _in_words(kind: pa.DataType) -> str:
    if pa.types.is_null(kind):
        return "nothing"
    if _is_list(kind):
        return f"lists of {_in_words(kind.value_type)}"
    return "texts" if _is_text(kind) else "numbers" if _is_number(kind) else str(kind)
