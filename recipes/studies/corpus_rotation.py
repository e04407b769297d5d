"""A collection's own rotation: which kind, from how many documents, and how it ages. Rows for eval/LOG.md.

    python recipes/studies/corpus_rotation.py SET SET ... --general R.safetensors [--only kinds|size|age] [--seeds 3]

A SET is a folder in BEIR layout (corpus.jsonl, queries.jsonl, qrels/test.tsv), or a .jsonl.gz of pairs (anchor,
positive), whose positives are the documents. R is learned from documents only, never from queries or judgements.
Printed are points of nDCG@10 (x 100) above the untouched model at each dim. Texts are encoded once, into --store.

kinds   the general R; the collection's own PCA; its own R; own documents and, as a second source, 3,600 of the
        bundled general texts (`blend`); own R with plain KL in place of its logarithm
size    own PCA and own R from 100, 300, 1,000, 3,000, ... documents, scored on all of them
age     documents of the other sets are added to each set's own, and its queries look among all of them: R of the old
        documents, R learned again, the general R
"""

import argparse
import csv
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

import matryoshka_text.rotation.fit as fitting
from matryoshka_text import MatryoshkaEncoder
from matryoshka_text.fingerprint import weights_hash
from matryoshka_text.nested import nested_distillation
from matryoshka_text.rotation import FitSettings, Rotation, learn
from matryoshka_text.vectors.reader import TextReader
from matryoshka_text.vectors.store import VectorStore

BASE = "sentence-transformers/all-MiniLM-L6-v2"
DATA = Path(__file__).parents[1] / "data"
Scores = dict[int, float]


@dataclass(frozen=True)
class Collection:
    """Unit vectors of documents and queries, and for each query the places of its relevant documents."""

    name: str
    documents: np.ndarray
    queries: np.ndarray
    relevant: list[set[int]]


def jsonl(path: Path) -> Iterable[dict[str, str]]:
    """The rows of a file, packed or not."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def texts_of(path: Path) -> tuple[list[str], list[str], list[set[int]]]:
    """Documents, queries, and the relevant documents of each query."""
    if path.is_file():
        rows = list(jsonl(path))
        return [row["positive"] for row in rows], [row["anchor"] for row in rows], [{i} for i in range(len(rows))]
    corpus = [row for row in jsonl(path / "corpus.jsonl") if (row.get("title", "") + row["text"]).strip()]
    place = {row["_id"]: i for i, row in enumerate(corpus)}
    judged: dict[str, set[int]] = {}
    with (path / "qrels/test.tsv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if int(row["score"]) > 0 and row["corpus-id"] in place:
                judged.setdefault(row["query-id"], set()).add(place[row["corpus-id"]])
    queries = [row for row in jsonl(path / "queries.jsonl") if row["_id"] in judged]
    documents = [(row.get("title", "") + " " + row["text"]).strip() for row in corpus]
    return documents, [row["text"] for row in queries], [judged[row["_id"]] for row in queries]


def ndcg(collection: Collection, rotation: np.ndarray | None, dims: Iterable[int]) -> Scores:
    """nDCG@10 x 100 with binary gains; every relevant document counts in the ideal."""
    found = {}
    gains = 1 / np.log2(np.arange(2, 12))
    for dim in dims:
        cut = [
            normalize(torch.from_numpy(v if rotation is None else v @ rotation[:, :dim])[:, :dim].float(), dim=1)
            for v in (collection.queries, collection.documents)
        ]
        top = (cut[0] @ cut[1].T).topk(10, dim=1).indices.tolist()
        scores = [
            sum(gain for gain, place in zip(gains, row, strict=True) if place in right) / gains[: len(right)].sum()
            for row, right in zip(top, collection.relevant, strict=True)
        ]
        found[dim] = 100 * float(np.mean(scores))
    return found


def own(
    documents: np.ndarray,
    dims: tuple[int, ...],
    seed: int,
    steps: int = 400,
    others: dict[str, np.ndarray] | None = None,
) -> np.ndarray:
    """The matrix learned from the documents, and from `others` by source if there are any."""
    sources = {"documents": documents, **(others or {})}
    held_back = 0.1 if steps else 0.0
    return learn(sources, dims, FitSettings(steps=steps, seed=seed), held_back=held_back).rotation.matrix


def plain_kl(documents: np.ndarray, dims: tuple[int, ...], seed: int) -> np.ndarray:
    """The same with the sum of KL_m in place of the sum of log KL_m."""

    def slope(
        vectors: Tensor, rotation: Tensor, dims: list[int], temperature: float
    ) -> tuple[Tensor, dict[int, float]]:
        turned, own_row = (vectors @ rotation).requires_grad_(), torch.arange(len(vectors))
        loss = nested_distillation(
            turned, turned, vectors, vectors, dims=dims, temperature=temperature, self_index=own_row
        )
        (gradient,) = torch.autograd.grad(loss.total, turned)
        along = turned.detach().T @ gradient
        return along - along.T, dict(zip(dims, loss.per_dim.tolist(), strict=True))

    logarithm, fitting.slope = fitting.slope, slope
    try:
        return own(documents, dims, seed)
    finally:
        fitting.slope = logarithm


def shown(name: str, rows: list[Scores], base: list[Scores]) -> None:
    """Points above untouched, the mean over `rows`."""
    gained = {dim: np.mean([row[dim] - other[dim] for row, other in zip(rows, base, strict=True)]) for dim in rows[0]}
    print(f"{name:34s}", " ".join(f"{value:+6.2f}" for value in gained.values()), flush=True)


def kinds(
    sets: list[Collection],
    dims: tuple[int, ...],
    seeds: range,
    general: np.ndarray | None,
    texts: dict[str, np.ndarray],
) -> None:
    """Which kind of rotation, by set and on average."""
    ways: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
        "own PCA": lambda v, seed: own(v, dims, seed, steps=0),
        "own R": lambda v, seed: own(v, dims, seed),
        "own R, plain KL": lambda v, seed: plain_kl(v, dims, seed),
        "blend: own and general texts": lambda v, seed: own(v, dims, seed, others={"general": texts}),
    }
    if general is not None:
        ways = {"general R": lambda v, seed: general, **ways}
    base = [ndcg(one, None, dims) for one in sets]
    print(f"{'untouched, mean':34s}", " ".join(f"{np.mean([b[d] for b in base]):6.2f}" for d in dims))
    for name, way in ways.items():
        rows = [[ndcg(one, way(one.documents, seed), dims) for one in sets] for seed in seeds]
        for place, one in enumerate(sets):
            shown(f"  {one.name}, {name}", [row[place] for row in rows], [base[place]] * len(rows))
        shown(f"mean, {name}", [score for row in rows for score in row], base * len(rows))


def size(sets: list[Collection], dims: tuple[int, ...], seeds: range) -> None:
    """How many documents it takes; a sample is drawn for each seed."""
    base = [ndcg(one, None, dims) for one in sets]
    for one, untouched in zip(sets, base, strict=True):
        total = len(one.documents)
        for count in [n for n in (100, 300, 1000, 3000, 10_000, 30_000, 100_000) if n < total] + [total]:
            for name, steps in (("own PCA", 0), ("own R", 400)):
                rows = []
                for seed in seeds:
                    sample = np.random.default_rng(seed).permutation(total)[:count]
                    rows.append(ndcg(one, own(one.documents[sample], dims, seed, steps), dims))
                shown(f"{one.name}, {count} documents, {name}", rows, [untouched] * len(rows))


def age(sets: list[Collection], dims: tuple[int, ...], seeds: range, general: np.ndarray | None) -> None:
    """What R is worth after the collection has grown by documents of other kinds."""
    found: dict[str, list[Scores]] = {"R of the old documents": [], "R learned again": [], "general R": []}
    base = []
    for place, one in enumerate(sets):
        added = [other.documents for at, other in enumerate(sets) if at != place]
        grown = Collection(one.name, np.concatenate([one.documents, *added]), one.queries, one.relevant)
        untouched = ndcg(grown, None, dims)
        for seed in seeds:
            base.append(untouched)
            found["R of the old documents"].append(ndcg(grown, own(one.documents, dims, seed), dims))
            found["R learned again"].append(ndcg(grown, own(grown.documents, dims, seed), dims))
            found["general R"].append(ndcg(grown, general, dims))
    for name, rows in found.items():
        shown(f"grown {len(sets)} fold, {name}", rows, base)


def main() -> None:
    """Encode what is not in the store, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--general", type=Path, help="the general R, such as runs/rotate-*/rotation.safetensors")
    parser.add_argument("--model", default=BASE)
    parser.add_argument("--dims", default="12,24,48,96,192,384")
    parser.add_argument("--only", choices=("kinds", "size", "age"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", type=Path, default=Path("runs/corpus_rotation"))
    asked = parser.parse_args()
    encoder = MatryoshkaEncoder(asked.model).eval()
    assert encoder.resolved is not None
    store = VectorStore(asked.store / weights_hash(encoder.resolved.path)[:16], encoder.width)
    reader = TextReader(encoder, store, dtype="float32")

    def vectors(texts: list[str]) -> np.ndarray:
        return np.asarray(reader.read(texts, dim=encoder.width))

    dims, seeds = tuple(map(int, asked.dims.split(","))), range(asked.seeds)
    general = Rotation.open(asked.general).matrix if asked.general else None
    sets = []
    for path in asked.sets:
        documents, queries, relevant = texts_of(path)
        sets.append(Collection(path.name, vectors(documents), vectors(queries), relevant))
        digest = hashlib.sha256("\0".join(documents).encode()).hexdigest()[:12]
        print(f"{path.name}: {len(documents)} documents ({digest}), {len(queries)} queries", flush=True)
    if asked.only in (None, "kinds"):
        sources = sorted((DATA / "sources").glob("*.jsonl.gz"))
        bundled = [r[c][:400] for p in sources for r in list(jsonl(p))[:150] for c in ("anchor", "positive")]
        kinds(sets, dims, seeds, general, bundled=vectors(bundled))
    if asked.only in (None, "size"):
        size(sets, dims, seeds)
    if asked.only in (None, "age") and len(sets) > 1:
        age(sets, dims, seeds, general)


if __name__ == "__main__":
    main()
