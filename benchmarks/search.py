"""Search on prefixes next to FAISS's own indexes: recall, time, memory and build time, in one run on one thread.

    python benchmarks/search.py --folder VECTORS --data-root DIR                        100,000 sentences of novels
    python benchmarks/search.py --folder VECTORS --data-root DIR --texts novels --rows 250000
    python benchmarks/search.py --folder VECTORS --data-root DIR --texts squad_a        with judgements: nDCG@10
    python benchmarks/search.py --folder VECTORS --texts icd10                          of one category: relevant
    python benchmarks/search.py --tiny                                                  generated clusters, in seconds

VECTORS keeps what `mtext encode` makes, outside the repository; a second run encodes only what is missing. Half of the
queries set what a method can set (k_factor, efSearch, plan) so that it reaches --recall; all figures are of the other
half. Before anything is timed, the exact answer is compared with a float64 product on a sample. Methods are timed in
turns, 20 queries at a time; ratios are of the medians of CPU time, which other programs disturb less. Memory is what a
method holds beyond one array of all vectors, which stays on disk for ours and for reranking; `build` is wall-clock
time, with tuning for ours.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from measure import machine, table
from search_prefixes import K, prefixes, quality
from search_texts import Material, data_root, generated, material

from matryoshka_text.rotation import FitSettings, learn
from matryoshka_text.search import FUNNELS, Plan, PrefixIndex
from matryoshka_text.search.structures import Key

ROUND = 20
IP = faiss.METRIC_INNER_PRODUCT
Search = Callable[[np.ndarray], np.ndarray]


@dataclass
class Method:
    """One column: a search for K rows a query, what it holds in memory beyond the vectors, and what was measured."""

    name: str
    search: Search
    held: int
    build: float
    note: str = ""
    taken: list[float] = field(default_factory=list)
    worked: list[float] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        """Median milliseconds of CPU time of a query."""
        return statistics.median(self.worked)


def recall_of(search: Search, queries: np.ndarray, truth: np.ndarray) -> float:
    """Share of the exact top K that is found."""
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, search(queries), strict=True)]))


def least(
    settings: Sequence[int], of: Callable[[int], Search], queries: np.ndarray, *, truth: np.ndarray, target: float
) -> int:
    """The first setting that reaches the recall; the last one if none does."""
    return next((one for one in settings if recall_of(of(one), queries, truth) >= target), settings[-1])


def flat_methods(x: np.ndarray, turned: np.ndarray, turn: Callable[[np.ndarray], np.ndarray]) -> Iterator[Method]:
    """Exact searches: FAISS's flat index, and Panorama over the vectors as they are and over rotated ones."""
    start = time.perf_counter()
    flat = faiss.IndexFlatIP(x.shape[1])
    flat.add(x)
    yield Method("exact flat float32", lambda q: flat.search(q, K)[1], 0, time.perf_counter() - start)
    for name, rows, before in (("Panorama", x, None), ("Panorama, our rotation", turned, turn)):
        start = time.perf_counter()
        index = faiss.IndexFlatIPPanorama(x.shape[1], 8)
        index.add(rows)

        def found(q: np.ndarray, index: Any = index, before: Any = before) -> np.ndarray:
            return index.search(q if before is None else before(q), K)[1]

        # It holds the vectors in an order of its own, and a sum of squares for each level.
        yield Method(name, found, rows.nbytes + 4 * 9 * len(rows), time.perf_counter() - start)


def refined_methods(x: np.ndarray, queries: np.ndarray, truth: np.ndarray, target: float) -> Iterator[Method]:
    """FAISS's codes of all coordinates, with the exact order of `k_factor` times K rows."""
    rows, width = x.shape
    random_turn = faiss.RandomRotationMatrix(width, width)
    random_turn.init(5)
    bits = faiss.IndexPreTransform(random_turn, faiss.IndexRaBitQFastScan(width, IP))
    eight = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit, IP)
    product = faiss.IndexPQFastScan(width, width // 2, 4, IP)
    each = (
        ("int8 and refine", eight, width * rows),
        ("RaBitQ and refine", bits, (width // 8 + 8) * rows),
        ("PQ fast scan and refine", product, width // 4 * rows),
    )
    for name, base, held in each:
        start = time.perf_counter()
        base.train(x[:65_536])
        base.add(x)
        built = time.perf_counter() - start
        index = faiss.IndexRefineFlat(base, faiss.swig_ptr(x))

        def of(factor: int, index: Any = index) -> Search:
            settings = faiss.IndexRefineSearchParameters(k_factor=float(factor))
            return lambda q: index.search(q, K, params=settings)[1]

        factor = least(
            (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100, 200, 400), of, queries, truth=truth, target=target
        )
        yield Method(name, of(factor), held, built, note=f"keep {factor * K}")


def graph_method(x: np.ndarray, queries: np.ndarray, truth: np.ndarray, target: float) -> Method:
    """HNSW over all coordinates; its vectors count, since it needs them in memory."""
    start = time.perf_counter()
    index = faiss.IndexHNSWFlat(x.shape[1], 32, IP)
    index.hnsw.efConstruction = 80
    index.add(x)
    built = time.perf_counter() - start

    def of(effort: int) -> Search:
        settings = faiss.SearchParametersHNSW(efSearch=effort)
        return lambda q: index.search(q, K, params=settings)[1]

    effort = least((16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048), of, queries, truth=truth, target=target)
    held = x.nbytes + 4 * index.hnsw.neighbors.size() + 8 * len(x)
    return Method("HNSW, full width", of(effort), held, built, note=f"efSearch {effort}")


def held_by(index: PrefixIndex, plan: Plan) -> int:
    """Bytes of the structure that the plan's first stage reads."""
    exact = plan.stages == Plan.exact(index.width).stages
    return 0 if exact else index.structure(Key.of(plan.stages[0])).bytes


def planned(index: PrefixIndex, name: str, plan: Plan, built: float) -> Method:
    """A search of ours by a plan; the index's plan may be changed by others, so it is given each time."""
    return Method(
        name, lambda q: index.search(q, K, plan).rows, held_by(index, plan), built, note=str(Plan(stages=plan.stages))
    )


def tuned_method(index: PrefixIndex, name: str, built: float, queries: np.ndarray, **settings: Any) -> Method:
    """The plan that the tuner finds."""
    start = time.perf_counter()
    plan = index.tune(queries, k=K, **settings).plan
    taken = time.perf_counter() - start
    print(f"{name}: tuned in {taken:.1f} s on {len(queries)} queries: {plan}", flush=True)
    return planned(index, name, plan, built + taken)


def our_methods(index: PrefixIndex, built: float, asked: np.ndarray, *, target: float, graph: bool) -> Iterator[Method]:
    """Single shots, the paper's adaptive retrieval and funnels, tuned plans."""
    width = index.width
    first = min((dim for dim in index.dims if dim * 4 >= width), default=width)
    yield planned(index, f"ours, single {first}", Plan.adaptive(first, width, keep=K), built)
    yield planned(index, f"ours, adaptive {first}", Plan.adaptive(first, width), built)
    yield planned(index, "ours, funnel 800", Plan.funnel(index.dims[-5:], FUNNELS["funnel 800"]), built)
    yield tuned_method(index, "ours, tuned", built, asked, recall=target)
    if graph:
        dims = [dim for dim in index.dims if width // 4 <= dim < width]
        yield tuned_method(
            index, "ours, HNSW", built, asked, recall=target, structures=("hnsw",), dims=dims, precisions=("float32",)
        )


def timed(methods: Sequence[Method], queries: np.ndarray) -> None:
    """Milliseconds of each query by itself, in turns: by the clock, and of CPU time."""
    for method in methods:
        method.search(queries[:3])
    for start in range(0, len(queries), ROUND):
        for method in methods:
            for place in range(start, min(start + ROUND, len(queries))):
                begin, before = time.perf_counter(), time.thread_time()
                method.search(queries[place : place + 1])
                method.worked.append(1000 * (time.thread_time() - before))
                method.taken.append(1000 * (time.perf_counter() - begin))


def rows_of(methods: Sequence[Method], half: Material, truth: np.ndarray) -> Iterator[list[str]]:
    """The table's lines."""
    for method in methods:
        start = time.perf_counter()
        found = method.search(half.queries)
        batch = len(half.queries) / (time.perf_counter() - start)
        recall = np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)])
        judged = [f"{100 * one:.2f}" for one in quality(found, half.relevant)] if half.relevant else []
        low, high = np.quantile(method.taken, (0.5, 0.95))
        speed = [
            f"{low:.3f}",
            f"{high:.3f}",
            f"{method.cpu:.3f}",
            f"{methods[0].cpu / method.cpu:.1f} x",
            f"{batch:,.0f}",
        ]
        size = [f"{method.held / 2**20:.1f}", f"{method.build:.1f}"]
        yield [method.name, method.note, f"{recall:.4f}", *judged, *speed, *size]


def require_right(x: np.ndarray, queries: np.ndarray, truth: np.ndarray) -> None:
    """`AssertionError` unless the rows called exact have the best float64 products."""
    scores = queries[:20].astype(np.float64) @ x.astype(np.float64).T
    best = -np.sort(-scores, axis=1)[:, :K]
    np.testing.assert_allclose(np.take_along_axis(scores, truth[:20], axis=1), best, atol=1e-6)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", default="sentences", choices=("squad_a", "novels", "sentences", "icd10"))
    parser.add_argument("--folder", type=Path, help="keeps the vectors, outside the repository")
    parser.add_argument("--data-root", help="holds mlm/ and extra/; default: MTEXT_DATA_ROOT")
    parser.add_argument("--rows", type=int, default=100_000, help="use at most N vectors", metavar="N")
    parser.add_argument("--queries", type=int, default=1000, help="use at most N, half of them to set methods by")
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--no-graphs", action="store_true", help="leave out HNSW, which takes long to build")
    parser.add_argument("--tiny", action="store_true", help="generated clusters")
    asked = parser.parse_args(arguments)
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    if asked.tiny:
        given = generated()
    elif asked.folder is None:
        raise SystemExit("--folder: found nothing; give a folder for the vectors, outside the repository")
    else:
        root = data_root(asked.data_root)
        given = material(asked.texts, folder=asked.folder, root=root, rows=asked.rows, queries=asked.queries)
    compare(given, target=asked.recall, graphs=not asked.no_graphs)


def compare(given: Material, *, target: float, graphs: bool) -> None:
    """Build every method, check it, time it, print the tables and the bars."""
    x = np.ascontiguousarray(given.vectors)
    relevant = given.relevant
    asked = given.queries[0::2]
    half = Material(given.name, x, given.queries[1::2], relevant[1::2] if relevant else None)
    what = f"{len(x):,} vectors of {x.shape[1]} dims, {len(asked)} + {len(half.queries)} queries"
    print(f"{given.name}: {what}; {machine()}", flush=True)
    start = time.perf_counter()
    index = PrefixIndex.build(x)
    built = time.perf_counter() - start
    turned = index.corpus.gather(np.arange(len(x)), index.width)
    methods = list(flat_methods(x, turned, index.turned))
    to_set, truth = methods[0].search(asked), methods[0].search(half.queries)
    require_right(x, half.queries, truth)
    if graphs:
        methods.append(graph_method(x, asked, to_set, target))
    methods += refined_methods(x, asked, to_set, target)
    pca = learn({"vectors": x}, index.dims, FitSettings(steps=0)).rotation
    for name, rotation in (("PCA prefix and rerank", pca), ("untouched prefix and rerank", False)):
        start = time.perf_counter()
        other = PrefixIndex.build(x, rotate=rotation)
        taken = time.perf_counter() - start
        methods.append(
            tuned_method(other, name, taken, asked, recall=target, structures=("flat",), precisions=("float32",))
        )
    methods += our_methods(index, built, asked, target=target, graph=graphs)
    timed(methods, half.queries)
    judged = ["nDCG@10", "mAP@10"] if relevant else []
    head = [
        "method",
        "setting",
        "recall@10",
        *judged,
        "p50 ms",
        "p95 ms",
        "CPU ms",
        "faster",
        "queries/s, batch",
        "MB",
        "build s",
    ]
    print(table(head, list(rows_of(methods, half, truth))), flush=True)
    ours = next(method for method in methods if method.name == "ours, tuned")
    median = {method.name: method.cpu for method in methods}
    for name, bar in (("exact flat float32", 14), ("Panorama", 4)):
        print(f"bar tuned >= {bar} x {name}: {median[name] / median[ours.name]:.1f} at {len(x):,} vectors")
    print(f"bar memory <= 0.25 x full width: {ours.held / x.nbytes:.3f}")
    prefixes(x, turned, half, index.turned, truth=truth, dims=[dim for dim in index.dims if dim < index.width])


if __name__ == "__main__":
    main()
