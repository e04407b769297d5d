"""A folder in BEIR layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv, each plain or gzipped."""

import csv
import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from matryoshka_text.errors import DataError

__all__ = ["missing_files", "read_beir"]

log = logging.getLogger(__name__)


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
        log.warning(
            "%s: %d queries judged in qrels/%s.tsv are not in queries.jsonl (%s): left out",
            folder,
            len(left_out),
            split,
            ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else ""),
        )
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


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast("TextIO", gzip.open(path, "rt", encoding="utf-8", newline=""))
    return path.open(encoding="utf-8", newline="")


def _texts(path: Path, *, title: bool) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for place, row in _json_lines(path):
        for column in ("_id", "text"):
            if not isinstance(row.get(column), str):
                raise DataError(
                    f"{place}: column {column!r} is {row.get(column)!r}; allowed: a string. Found columns: "
                    f"{', '.join(row)}; needed: _id, text" + (", and title where there is one" if title else "")
                )
        if row["_id"] in seen:
            raise DataError(f"{place}: the _id {row['_id']!r} occurs twice; ids must be different")
        seen.add(row["_id"])
        rows.append({"id": row["_id"], **({"title": row.get("title") or ""} if title else {}), "text": row["text"]})
    if not rows:
        raise DataError(f"{path}: is empty; at least one row is needed")
    return rows


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: is no JSON: {error}; one JSON object a line is needed") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: holds {type(row).__name__}; one JSON object a line is needed")
            yield f"{path}:{number}", row


def _judgements(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    with _open(path) as lines:
        reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        needed = ["query-id", "corpus-id", "score"]
        if not set(needed) <= set(reader.fieldnames or ()):
            raise DataError(
                f"{path}:1: columns are {reader.fieldnames}; needed: a header line {', '.join(needed)}, tab-separated"
            )
        for row in reader:
            try:
                score = int(row["score"])
            except (TypeError, ValueError):
                raise DataError(
                    f"{path}:{reader.line_num}: score is {row['score']!r}; allowed: a whole number"
                ) from None
            query, document = row["query-id"], row["corpus-id"]
            before = qrels.setdefault(query, {}).setdefault(document, score)
            if before != score:
                raise DataError(
                    f"{path}:{reader.line_num}: judges document {document!r} for query {query!r} as {score}, a line "
                    f"above as {before}; allowed: one judgement a pair; remove one of the lines"
                )
    return qrels
