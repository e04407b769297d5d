"""What the first stage searches: FAISS structures over unit prefixes of all rows."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float32, Int64

from matryoshka_text.errors import DataError, RunError
from matryoshka_text.extras import optional
from matryoshka_text.rows import Precision
from matryoshka_text.search.stage import Stage, Structure
from matryoshka_text.vectors.views import unit_rows

__all__ = ["ADDING", "LINKS", "PQ_ROWS", "Key", "Searchable", "faiss", "lists_for"]

# Graph neighbours of a row, and candidates while it is added: FAISS's own advice for text vectors (32; 40 to 200).
LINKS, ADDING = 32, 80
_TRAINING = 65_536
# FAISS's minimum to learn 16 codes from.
PQ_ROWS = 16 * 39

Block = Float32[np.ndarray, "n dim"]


@cache
def faiss() -> Any:
    """The module; `ExtraMissing` with the install command if it is not installed."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which builds it looked for
    return optional("faiss", extra="search", purpose="searching an index")


class Key(NamedTuple):
    """What tells one structure from another."""

    dim: int
    structure: Structure
    precision: Precision

    def __str__(self) -> str:
        return f"{self.structure}-{self.dim}-{self.precision}"

    @classmethod
    def named(cls, text: str) -> "Key":
        """The key that prints as `text`."""
        structure, dim, precision = text.split("-")
        return cls(int(dim), cast(Structure, structure), cast(Precision, precision))

    @classmethod
    def of(cls, stage: Stage) -> "Key":
        """The structure that this first stage reads."""
        return cls(stage.dim, stage.structure, stage.precision)


class Searchable:
    """All rows' prefixes in one structure; rows are counted from 0 in the order they were added."""

    def __init__(self, key: Key, index: Any) -> None:
        self.key, self._index = key, index

    @classmethod
    def build(cls, key: Key, rows: int, blocks: Callable[[], Iterable[Block]], *, seed: int = 0) -> "Searchable":
        """From `blocks()` of unit vectors of at least `key.dim` columns, read once, or twice where codes are learned.

        `DataError` for too few rows.
        """
        made = cls(key, _empty(key, rows, seed))
        if not made._index.is_trained:
            made._index.train(made._coded(_sample(key.dim, rows, blocks, seed)))
        for block in blocks():
            made.add(block)
        return made

    def add(self, vectors: Block) -> None:
        """Put more unit vectors behind the others."""
        self._index.add(self._coded(_prefix(vectors, self.key.dim)))

    def search(
        self, queries: Block, keep: int, *, effort: int | None = None, without: Int64[np.ndarray, " n"] | None = None
    ) -> Int64[np.ndarray, "q keep"]:
        """The best `keep` rows of each query, best first; -1 where the structure finds no more.

        `without`: rows that are left out, sorted.
        """
        keep = min(keep, self._index.ntotal)
        more = 0 if without is None else len(without)
        coded = self._coded(_prefix(queries, self.key.dim))
        settings = self._settings(effort, without if self._selects else None)
        asked = keep if self._selects else min(keep + more, self._index.ntotal)
        _, found = self._index.search(coded, asked, params=settings) if settings else self._index.search(coded, asked)
        found = found.astype(np.int64, copy=False)
        if found.max(initial=-1) >= self._index.ntotal:
            raise RunError(f"{self.key}: is damaged: it finds rows that are not there; build the index again")
        return found if without is None or not more or self._selects else _left(found, without, keep)

    @property
    def bytes(self) -> int:
        """What it holds in memory: codes, and links of a graph or numbers in lists."""
        index, rows, graph = self._index, int(self._index.ntotal), self.key.structure == "hnsw"
        typed = faiss().downcast_IndexBinary if self._bits else faiss().downcast_index
        held = rows * int(typed(index.storage).code_size if graph else index.code_size)
        if graph:
            held += 4 * int(index.hnsw.neighbors.size()) + 8 * int(index.hnsw.offsets.size())
        elif self.key.structure == "ivf":
            held += 8 * rows + int(index.nlist) * self.key.dim * (4 if self.key.precision != "binary" else 1)
        return held

    def save(self, path: Path) -> None:
        """Write one file."""
        (faiss().write_index_binary if self._bits else faiss().write_index)(self._index, str(path))

    @classmethod
    def open(cls, key: Key, path: Path, rows: int) -> "Searchable":
        """What `save` wrote; `RunError` for a file that is missing, damaged or of other rows."""
        read = faiss().read_index_binary if key.precision == "binary" else faiss().read_index
        try:
            if not path.is_file():  # a pipe would be waited for
                raise RuntimeError("it is missing, or no regular file")
            index = read(str(path))
            if _kind(index) != _kind(_empty(key, rows, 0)):
                raise RuntimeError(f"it is no structure of the kind {key}")
        except (RuntimeError, MemoryError) as error:
            why = (str(error) or "its sizes are above the memory").splitlines()[-1]
            raise RunError(f"{path}: cannot be read ({why}); build the index again") from error
        if index.ntotal != rows:
            raise RunError(f"{path}: found {index.ntotal:,} rows; allowed: {rows:,}; build the index again")
        return cls(key, index)

    @property
    def _bits(self) -> bool:
        return self.key.precision == "binary"

    @property
    def _selects(self) -> bool:
        """Whether FAISS itself can leave rows out of this structure's search."""
        return not self._bits and self.key.structure != "pq"

    def _coded(self, prefixes: Block) -> np.ndarray:
        if not self._bits:
            return prefixes
        return np.packbits(np.pad(prefixes > 0, ((0, 0), (0, -self.key.dim % 8))), axis=1)

    def _settings(self, effort: int | None, without: Int64[np.ndarray, " n"] | None) -> Any:
        f, kind = faiss(), self.key.structure
        if self._bits:
            # Binary structures take no parameters with a search, so they hold them.
            if kind == "hnsw":
                self._index.hnsw.efSearch = effort
            elif kind == "ivf":
                self._index.nprobe = effort
            return None
        chosen: dict[str, Any] = {}
        if without is not None and len(without):
            chosen["sel"] = f.IDSelectorNot(f.IDSelectorBatch(without))
        if kind == "hnsw":
            return f.SearchParametersHNSW(efSearch=effort, **chosen)
        if kind == "ivf":
            return f.SearchParametersIVF(nprobe=effort, **chosen)
        return f.SearchParameters(**chosen) if chosen else None


def lists_for(rows: int) -> int:
    """Lists of an ivf structure: 4 sqrt(rows), with at least 39 rows in each to learn it from (FAISS's minimum)."""
    return max(1, min(int(4 * math.sqrt(rows)), rows // 39))


def _empty(key: Key, rows: int, seed: int) -> Any:
    f, (dim, structure, precision) = faiss(), key
    if structure == "ivf" and rows < 39:
        raise DataError(f"ivf: found {rows} rows; allowed: at least 39, to learn one list from; use flat")
    if structure == "pq" and rows < PQ_ROWS:
        raise DataError(f"pq: found {rows} rows; allowed: at least {PQ_ROWS}, to learn its codes from; use flat")
    if precision == "binary":
        bits = dim + -dim % 8
        if structure == "hnsw":
            return _with_adding(f.IndexBinaryHNSW(bits, LINKS))
        if structure == "ivf":  # FAISS's Python keeps the coarse structure alive with the other
            return f.IndexBinaryIVF(f.IndexBinaryFlat(bits), bits, lists_for(rows))
        return f.IndexBinaryFlat(bits)
    metric, eight = f.METRIC_INNER_PRODUCT, f.ScalarQuantizer.QT_8bit
    if structure == "pq":
        return f.IndexPQFastScan(dim, dim // 2, 4, metric)
    if structure == "hnsw":
        made = f.IndexHNSWSQ(dim, eight, LINKS, metric) if precision == "int8" else f.IndexHNSWFlat(dim, LINKS, metric)
        return _with_adding(made)
    if structure == "ivf":
        coarse, lists = f.IndexFlat(dim, metric), lists_for(rows)
        whole = precision == "float32"
        index = (
            f.IndexIVFFlat(coarse, dim, lists, metric)
            if whole
            else f.IndexIVFScalarQuantizer(coarse, dim, lists, eight, metric)
        )
        index.cp.seed = seed + 1
        return index
    return f.IndexScalarQuantizer(dim, eight, metric) if precision == "int8" else f.IndexFlatIP(dim)


def _kind(index: Any) -> tuple[type, int, int]:
    """What must be alike for the same vectors to give the same answers."""
    return type(index), int(index.d), int(index.metric_type)


def _with_adding(index: Any) -> Any:
    index.hnsw.efConstruction = ADDING
    return index


def _prefix(vectors: Block, dim: int) -> Block:
    """Unit prefixes in memory, row after row, as FAISS reads them."""
    return np.ascontiguousarray(unit_rows(np.asarray(vectors[:, :dim], dtype=np.float32)))


def _sample(dim: int, rows: int, blocks: Callable[[], Iterable[Block]], seed: int) -> Block:
    """Prefixes of rows drawn evenly: what lists and codes are learned from."""
    share = min(1.0, _TRAINING / rows)
    draw = np.random.default_rng(seed)

    def drawn() -> Iterator[Block]:
        for block in blocks():
            yield _prefix(block[draw.random(len(block)) < share] if share < 1 else block, dim)

    return np.concatenate(list(drawn()))


def _left(found: Int64[np.ndarray, "q n"], without: Int64[np.ndarray, " n"], keep: int) -> np.ndarray:
    """The first `keep` of each line that are not left out; -1 for what is missing."""
    left = np.full((len(found), keep), -1, dtype=np.int64)
    for line, row in zip(left, found, strict=True):
        good = row[~np.isin(row, without) & (row >= 0)][:keep]
        line[: len(good)] = good
    return left
