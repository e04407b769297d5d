"""What an index of 10 million to 10 billion vectors takes: measures per-vector figures, and writes the planning page.

    python benchmarks/planning.py --folder VECTORS --data-root DIR --rows 100000    measure, into planning.json
    python benchmarks/planning.py --page                                            docs/guides/planning.md from it

Measured on a sample of real sentences (see search_texts.py): bytes and scan time a vector by dim and precision, and the
share of the rows that has to be kept for recall@10 0.99, at the full sample and at a quarter of it. Everything for
larger collections is multiplied from that, and the page says so.
"""

import argparse
import json
import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MEASURED, TEMPLATE = HERE / "planning.json", HERE / "planning.template.md"
PAGE = HERE.parent / "docs" / "guides" / "planning.md"
SIZES = {"10 million": 10**7, "100 million": 10**8, "1 billion": 10**9, "10 billion": 10**10}
SHARES = (1000, 250, 50)
USABLE, CORES = 48 * 2**30, 16
LEAST = 0.99


def measured(folder: Path, root: Path | None, rows: int, queries: int) -> dict[str, Any]:
    """Figures by dim and precision, on sentences that the index's rotation was learned from and queries it was not."""
    import faiss
    import numpy as np
    import torch
    from measure import processor
    from search_texts import material

    from matryoshka_text.search import PrefixIndex

    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    given = material("sentences", folder=folder, root=root, rows=rows, queries=queries)
    index = PrefixIndex.build(given.vectors)
    turned, asked = index.corpus.gather(np.arange(len(given.vectors)), index.width), index.turned(given.queries)
    found = [line for dim in index.dims[1:-1] for line in figures(turned, asked, dim)]
    return {
        "rows": len(turned),
        "queries": len(asked),
        "width": index.width,
        "processor": processor(),
        "rerank_us": rerank(index, asked),
        "figures": found,
    }


def figures(turned: Any, asked: Any, dim: int) -> Iterator[dict[str, Any]]:
    """One dim in each precision."""
    import faiss
    import numpy as np

    from matryoshka_text.search.asked import Asked, ranks_in
    from matryoshka_text.search.structures import Key, Searchable

    for key in (
        Key(dim, "flat", "float32"),
        Key(dim, "flat", "int8"),
        Key(dim, "pq", "float32"),
        Key(dim, "flat", "binary"),
    ):
        kept, shares, taken, size = [], [], [], 0
        for rows in (turned[: len(turned) // 4], turned):
            truth = faiss.knn(asked, rows, 10, metric=faiss.METRIC_INNER_PRODUCT)[1]
            searchable = Searchable.build(key, len(rows), lambda rows=rows: [rows])
            most = len(rows) // 5
            ranks = ranks_in(
                lambda some, s=searchable, most=most: s.search(some, most), Asked(asked, truth, None), most=most
            )
            edge = int(np.quantile(ranks, LEAST, method="higher")) + 1
            kept.append(edge / len(rows) if edge <= most else None)
            shares = [float((ranks < len(rows) // share).mean()) for share in SHARES]
            size = searchable.bytes / len(rows)
            taken = []
            for query in asked[:40]:
                start = time.thread_time()
                searchable.search(query[None], 200)
                taken.append(time.thread_time() - start)
        name = "product codes" if key.structure == "pq" else key.precision
        scan = 1e9 * statistics.median(taken) / len(turned)
        yield {"dim": dim, "precision": name, "bytes": size, "scan_ns": scan, "recall": shares, "kept": kept}


def rerank(index: Any, asked: Any) -> float:
    """Microseconds that a kept row costs at full width."""
    from matryoshka_text.search import Plan

    def median(keep: int) -> float:
        plan, taken = Plan.adaptive(index.dims[-3], index.width, keep), []
        for query in asked[:60]:
            start = time.thread_time()
            index.shortlisted(query[None], 10, plan)
            taken.append(time.thread_time() - start)
        return statistics.median(taken)

    few, many = median(200), median(1200)
    return float(1e6 * (many - few) / 1000)


def page(found: dict[str, Any]) -> str:
    """The planning page."""
    from measure import table

    rows, width = found["rows"], found["width"]
    first = [
        [line["dim"], line["precision"], f"{line['bytes']:g}", *(size(line["bytes"] * many) for many in SIZES.values())]
        for line in found["figures"]
    ]
    second = [
        [
            line["dim"],
            line["precision"],
            *(f"{one:.3f}" for one in line["recall"]),
            *(f"1 in {1 / share:,.0f}" if share else "more than 1 in 5" for share in line["kept"][::-1]),
        ]
        for line in found["figures"]
    ]
    fitting = [line for line in found["figures"] if line["recall"][1] >= LEAST]
    third = [
        [
            line["dim"],
            line["precision"],
            f"{line['scan_ns']:.2f}",
            *(f"{machines(line, many):,}; {seconds(line, many):.2g} s" for many in SIZES.values()),
        ]
        for line in fitting
    ]
    full = table(["", *SIZES], [["full vectors on disk", *(size(4 * width * many) for many in SIZES.values())]])
    return TEMPLATE.read_text(encoding="utf-8").format(
        cores=CORES,
        rows=f"{rows:,}",
        quarter=f"{rows // 4:,}",
        queries=f"{found['queries']:,}",
        width=width,
        processor=found["processor"],
        rerank=f"{found['rerank_us']:.2f}",
        full=full,
        memory=table(["dim", "precision", "bytes a vector", *SIZES], first),
        recall=table(
            [
                "dim",
                "precision",
                *(f"1 in {share:,} kept" for share in SHARES),
                "kept for 0.99",
                f"at {rows // 4:,} rows",
            ],
            second,
        ),
        machines=table(["dim", "precision", "ns a vector", *SIZES], third),
    )


def size(count: float) -> str:
    """Bytes in a unit that is easy to read."""
    place = min(4, int(math.log(count, 1000)))
    return f"{count / 1000**place:,.3g} {('B', 'kB', 'MB', 'GB', 'TB')[place]}"


def machines(line: dict[str, Any], many: int) -> int:
    """Machines that hold the codes."""
    return math.ceil(line["bytes"] * many / USABLE)


def seconds(line: dict[str, Any], many: int) -> float:
    """Time of one scan, divided evenly over the cores of these machines."""
    return float(line["scan_ns"] * many / (machines(line, many) * CORES) / 1e9)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keeps the vectors, outside the repository")
    parser.add_argument("--data-root", help="holds mlm/; default: MTEXT_DATA_ROOT")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--page", action="store_true", help="write the page from what was measured before")
    asked = parser.parse_args(arguments)
    if not asked.page:
        from search_texts import data_root

        if asked.folder is None:
            raise SystemExit("--folder: found nothing; give a folder for the vectors, or --page")
        found = measured(asked.folder, data_root(asked.data_root), asked.rows, asked.queries)
        MEASURED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(json.loads(MEASURED.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
