"""A folder in BEIR layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv, each plain or gzipped."""

import logging
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from matryoshka_text.errors import DataError, shown
from matryoshka_text.reading import Cells, Faults, open_table
from matryoshka_text.reading.files import lines_of, readable

__all__ = ["missing_files", "read_beir"]

log = logging.getLogger(__name__)

_HEADER = ("query-id", "corpus-id", "score")
_WHOLE = re.compile(r"([+-]?\d{1,12})(\.0*)?", re.ASCII)
_MOST = 2**31 - 1  # measures count judgements in 32 bits
_Judged = Iterator[tuple[int, str, str, str]]


def missing_files(folder: Path, split: str) -> list[str]:
    """Which of the three files the folder lacks."""
    wanted = ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv")
    return [name for name in wanted if not any((folder / (name + end)).is_file() for end in ("", ".gz"))]


def read_beir(folder: Path, split: str) -> dict[str, Any]:
    """The split as mteb's RetrievalSplitData: corpus, judged queries, judgements. `DataError` names file and line."""
    from datasets import Dataset

    qrels = _judgements(_file(folder, f"qrels/{split}.tsv"))
    corpus = _texts(_file(folder, "corpus.jsonl"), title=True)
    queries = _texts(_file(folder, "queries.jsonl"), title=False)
    judged = [query for query in queries if query["id"] in qrels]
    if not judged:
        raise DataError(f"{folder}: no query of queries.jsonl is judged in qrels/{split}.tsv; the ids must be the same")
    _require_positives(folder, split, qrels, [query["id"] for query in judged])
    ids = {document["id"] for document in corpus}
    lost = sum(document not in ids for relevant in qrels.values() for document in relevant)
    if lost:
        log.warning("%s: %d judgements in qrels/%s.tsv name documents that corpus.jsonl lacks", folder, lost, split)
    known = {query["id"] for query in judged}
    if left_out := [query for query in qrels if query not in known]:
        some = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        what = f"{len(left_out)} queries judged in qrels/{split}.tsv are not in queries.jsonl ({some}): left out"
        log.warning("%s: %s", folder, what)
    return {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list(judged),
        "relevant_docs": {query: relevant for query, relevant in qrels.items() if query in known},
        "top_ranked": None,
    }


def _require_positives(folder: Path, split: str, qrels: dict[str, dict[str, int]], queries: list[str]) -> None:
    found = {score for query in queries for score in qrels[query].values()}
    if max(found) <= 0:
        raise DataError(
            f"{folder}/qrels/{split}.tsv: scores are {', '.join(map(str, sorted(found)))}; "
            "at least one above 0, which is a relevant document, is needed"
        )


def _file(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.is_file() else folder / (name + ".gz")


def _texts(path: Path, *, title: bool) -> list[dict[str, str]]:
    """Each line's id and text, and for documents the title."""
    faults = Faults()
    cells = Cells(str(path), {"_id": "_id", "text": "text", "title": "title"}, faults)
    table = open_table(path, faults)
    lacking = [column for column in ("_id", "text") if column not in table.columns]
    if lacking:
        raise DataError(
            f"{path}: found no column {', '.join(lacking)}; allowed: _id, text{', title' * title}; "
            f"found columns: {', '.join(table.columns)}; rename them"
        )
    rows: dict[str, dict[str, str]] = {}
    for number, row in table.rows:
        known = str(row["_id"]) if type(row.get("_id")) is int else cells.text((number, row), "_id", blank=True)
        text = cells.text((number, row), "text", blank=True)
        head = cells.text((number, row), "title", blank=True) if title and row.get("title") else ""
        if known in rows:
            faults.add(table.place(number), f"found the _id {known!r} again; allowed: different ids; rename one")
        if known is not None and text is not None and head is not None:
            rows[known] = {"id": known, **({"title": head} if title else {}), "text": text}
    faults.raise_any()
    return list(rows.values())


def _judgements(path: Path) -> dict[str, dict[str, int]]:
    """By query, each document's score."""
    faults = Faults()
    qrels: dict[str, dict[str, int]] = {}
    for number, query, document, score in _judged(path, faults):
        whole = _WHOLE.fullmatch(score.strip())
        value = int(whole[1]) if whole else _MOST + 1
        if abs(value) > _MOST:
            allowed = f"allowed: a whole number from -{_MOST} to {_MOST}; correct it"
            faults.add(f"{path}:{number}", f"score: found {shown(score)}; {allowed}")
            continue
        before = qrels.setdefault(query, {}).setdefault(document, value)
        if before != value:
            faults.add(
                f"{path}:{number}",
                f"judges document {document!r} for query {query!r} as {value}, a line above as {before}; "
                "allowed: one judgement a pair; remove one of the lines",
            )
    faults.raise_any()
    return qrels


def _judged(path: Path, faults: Faults) -> _Judged:
    """Line, query, document and score of each judgement: of a table with a header, or in TREC's form without one."""
    with readable(path):
        first = list(islice(lines_of(path), 1))
    if any(_is_trec(line) for line in first):
        yield from _trec(path, enumerate(lines_of(path), start=1), faults)
        return
    table = open_table(path, faults, _HEADER)
    if not set(_HEADER) <= set(table.columns):
        raise DataError(
            f"{path}:1: found columns {', '.join(table.columns)}; needed: a header line {', '.join(_HEADER)}, "
            "tab-separated, or TREC's four columns without a header"
        )
    for number, row in table.rows:
        query, document, score = (str(row[name]) for name in _HEADER)
        yield number, query, document, score


def _is_trec(line: str) -> bool:
    """Whether the line is a query, an iteration, a document and a score."""
    fields = line.split()
    return len(fields) == 4 and _WHOLE.fullmatch(fields[3]) is not None


def _trec(path: Path, lines: Iterable[tuple[int, str]], faults: Faults) -> _Judged:
    with readable(path):
        for number, line in lines:
            fields = line.split()
            if len(fields) == 4:
                yield number, fields[0], fields[2], fields[3]
            elif fields:
                faults.add(
                    f"{path}:{number}", f"found {len(fields)} fields; allowed: query, iteration, document, score"
                )
