"""A task's loaded data: are the splits, columns, texts and labels there that scoring will read?"""

from collections.abc import Iterator, Mapping
from typing import Any

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.check_columns import column_faults
from matryoshka_text.evaluation.tasks.loaded import LoadedTask
from matryoshka_text.evaluation.tasks.needs import Needs, needs_of

__all__ = ["require_readable"]


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
