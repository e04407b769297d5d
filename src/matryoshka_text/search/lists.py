"""AdANNS: lists that are chosen by a few coordinates and read with more of them (arXiv:2305.19435, section 4.1)."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from matryoshka_text.search.corpus import Corpus
from matryoshka_text.search.structures import faiss, lists_for
from matryoshka_text.vectors.views import unit_rows

__all__ = ["CoarseLists"]

_ROUNDS = 20

Vectors = Float32[np.ndarray, "n width"]


class CoarseLists:
    """All rows in lists round centroids of their first `coarse` coordinates; lists hold their first `fine` ones.

    With `coarse` equal to `fine` it is a plain inverted file.
    """

    def __init__(self, corpus: Corpus, coarse: int, fine: int, *, seed: int = 0) -> None:
        f = faiss()
        self.coarse, self.fine, self.count = coarse, fine, lists_for(len(corpus))
        rows = corpus.gather(np.arange(len(corpus)), max(coarse, fine))
        short = _prefix(rows, coarse)
        kmeans = f.Kmeans(coarse, self.count, niter=_ROUNDS, spherical=True, seed=seed + 1, min_points_per_centroid=1)
        kmeans.train(short)
        self._centroids = kmeans.index
        # FAISS wants a structure of the lists' own dims here; it is never asked, because lists are given.
        self._unused = f.IndexFlatIP(fine)
        self._lists = f.IndexIVFFlat(self._unused, fine, self.count, f.METRIC_INNER_PRODUCT)
        self._lists.is_trained = True
        of = self._nearest(short, 1)[:, 0]
        _tools().add_preassigned(self._lists, _prefix(rows, fine), np.ascontiguousarray(of))
        self.sizes = np.bincount(of, minlength=self.count)

    def search(self, queries: Vectors, keep: int, probes: int) -> Int64[np.ndarray, "q keep"]:
        """The best `keep` rows by `fine` coordinates in the `probes` nearest lists; -1 where they hold fewer."""
        self._lists.nprobe = probes
        nearest = self._nearest(_prefix(queries, self.coarse), probes)
        _, found = _tools().search_preassigned(self._lists, _prefix(queries, self.fine), keep, nearest)
        return found

    def read(self, queries: Vectors, probes: int) -> float:
        """How many rows a query's lists hold, the mean over these queries."""
        return float(self.sizes[self._nearest(_prefix(queries, self.coarse), probes)].sum(axis=1).mean())

    def _nearest(self, prefixes: Vectors, probes: int) -> Int64[np.ndarray, "n probes"]:
        return self._centroids.search(prefixes, probes)[1]


def _prefix(rows: Vectors, dim: int) -> Vectors:
    return np.ascontiguousarray(unit_rows(rows[:, :dim]), dtype=np.float32)


def _tools() -> Any:
    from faiss.contrib import ivf_tools

    return ivf_tools
