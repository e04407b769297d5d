"""What vectors cost: bytes, gigabytes for a million, and the measured time of an exact search on this machine."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int8, Int64, Shaped, UInt64
from torch import Tensor

from matryoshka_text.evaluation.settings import processor
from matryoshka_text.rows import Precision
from matryoshka_text.vectors.views import bytes_per_vector

__all__ = ["Cost", "Costs", "costs", "packed", "search_binary", "search_float32", "search_int8"]

VECTORS, BATCH, NEAREST = 100_000, 32, 10
_BLOCK = 2048
_MOST_BYTES = 2**29
_SECONDS, _MOST_RUNS = 0.15, 5

Found = tuple[Shaped[Tensor, "q k"], Int64[Tensor, "q k"]]


@dataclass(frozen=True)
class Cost:
    """One dim in one precision; `milliseconds` of search a query, None if it was not measured."""

    dim: int
    precision: Precision
    milliseconds: float | None = None

    @property
    def bytes_per_vector(self) -> int:
        """What one vector takes in memory."""
        return bytes_per_vector(self.dim, self.precision)

    @property
    def gigabytes(self) -> float:
        """What a million vectors take, in 10^9 bytes."""
        return self.bytes_per_vector / 1000


@dataclass(frozen=True)
class Costs:
    """Costs by dim and precision, and how the times were measured; `how` is "" if they were not."""

    lines: tuple[Cost, ...]
    how: str = ""

    def of(self, dim: int, precision: Precision) -> Cost | None:
        """The line of that dim and precision; None if there is none."""
        return next((one for one in self.lines if (one.dim, one.precision) == (dim, precision)), None)

    @property
    def slowest(self) -> Cost | None:
        """The widest float32 search, which the others are compared with."""
        timed = [one for one in self.lines if one.precision == "float32" and one.milliseconds]
        return max(timed, key=lambda one: one.dim, default=None)

    def ratio(self, line: Cost) -> float | None:
        """How many times as fast as the widest float32 search."""
        whole = self.slowest
        return whole.milliseconds / line.milliseconds if whole and whole.milliseconds and line.milliseconds else None

    def markdown(self) -> str:
        """A table with a heading."""
        lines = ["### Cost", ""]
        lines += ["| dim | precision | bytes a vector | GB a million vectors | search, ms a query | times as fast |"]
        lines += ["| ---: | :--- | ---: | ---: | ---: | ---: |"]
        for one in self.lines:
            ratio = self.ratio(one)
            took = "-" if one.milliseconds is None else f"{one.milliseconds:.3f}"
            cells = [str(one.dim), one.precision, f"{one.bytes_per_vector:,}", f"{one.gigabytes:.3f}", took]
            lines.append(f"| {' | '.join(cells)} | {'-' if ratio is None else f'{ratio:.1f}'} |")
        return "\n".join([*lines, "", *([self.how] if self.how else [])]) + "\n"


def costs(
    dims: Sequence[int], precisions: Sequence[Precision] = ("float32",), *, vectors: int = VECTORS, measure: bool = True
) -> Costs:
    """Bytes and, with `measure`, the time of an exact top-10 search over so many random unit vectors.

    Exact search looks at every coordinate whatever it holds, so that random vectors take as long as real ones. Fewer
    vectors where the widest would need more than 512 MB; a second or two for widths of a few hundred.
    """
    kinds = list(dict.fromkeys(precisions))
    if not measure:
        return Costs(tuple(Cost(dim, kind) for kind in kinds for dim in dims))
    count = max(1, min(vectors, _MOST_BYTES // (4 * max(dims))))
    with torch.inference_mode():
        lines = tuple(_measured(dims, kinds, count))
    threads = torch.get_num_threads()
    how = (
        f"Exact top-{min(NEAREST, count)} search over {count:,} random unit vectors in batches of {BATCH} queries, "
        f"the fastest of a few runs on the machine that wrote this report ({processor()}): products by torch with "
        f"{threads} thread{'' if threads == 1 else 's'}, int8 codes turned to float32 block by block, binary by numpy "
        "(xor and count of bits) with 1 thread. An approximate index, or a library with products of int8, is faster."
    )
    return Costs(lines, how)


def _measured(dims: Sequence[int], kinds: Sequence[Precision], count: int) -> Iterator[Cost]:
    generator = torch.Generator().manual_seed(0)
    corpus = torch.randn(count, max(dims), generator=generator)
    queries = torch.randn(BATCH, max(dims), generator=generator)
    for kind in kinds:
        took = {}
        # The widest first: the first products of a process also pay for its memory.
        for dim in sorted(dims, reverse=True):
            search = _search(kind, _unit(queries[:, :dim]), _unit(corpus[:, :dim]), min(NEAREST, count))
            took[dim] = 1000 * _seconds(search) / BATCH
        yield from (Cost(dim, kind, took[dim]) for dim in dims)


def _search(
    kind: Precision, queries: Float[Tensor, "q d"], corpus: Float[Tensor, "n d"], nearest: int
) -> Callable[[], Found]:
    """The search with everything that is stored made beforehand; a query comes as float32."""
    if kind == "float32":
        return lambda: search_float32(queries, corpus, nearest)
    if kind == "int8":
        codes = (corpus * (127 / corpus.abs().amax())).round().to(torch.int8)
        return lambda: search_int8(queries, codes, nearest)
    bits = packed(corpus)
    return lambda: search_binary(packed(queries), bits, nearest)


def search_float32(queries: Float[Tensor, "q d"], corpus: Float[Tensor, "n d"], nearest: int) -> Found:
    """The largest products of each query with the rows of the corpus, and their places."""
    return _largest(queries @ corpus.T, nearest)


def search_int8(queries: Float[Tensor, "q d"], codes: Int8[Tensor, "n d"], nearest: int) -> Found:
    """The same with codes of one byte, turned to float32 a block at a time."""
    blocks = (codes[start : start + _BLOCK] for start in range(0, len(codes), _BLOCK))
    return _largest(torch.cat([queries @ block.to(queries.dtype).T for block in blocks], dim=1), nearest)


def search_binary(queries: UInt64[np.ndarray, "w q"], bits: UInt64[np.ndarray, "w n"], nearest: int) -> Found:
    """The most equal bits: minus the Hamming distances of `packed` vectors, and their places."""
    unequal = np.zeros((queries.shape[1], bits.shape[1]), np.int16)
    for start in range(0, bits.shape[1], _BLOCK):  # blocks stay in the cache
        for query, word in zip(queries, bits[:, start : start + _BLOCK], strict=True):
            unequal[:, start : start + _BLOCK] += np.bitwise_count(query[:, None] ^ word[None, :])
    return _largest(-torch.from_numpy(unequal), nearest)


def packed(vectors: Float[Tensor, "n d"]) -> UInt64[np.ndarray, "w n"]:
    """One bit a coordinate, set if it is positive, in words of 64; the last word is filled up with zeros."""
    octets = np.packbits(vectors.numpy() > 0, axis=1)
    words = np.pad(octets, ((0, 0), (0, -octets.shape[1] % 8))).view(np.uint64)
    return np.ascontiguousarray(words.T)


def _largest(scores: Shaped[Tensor, "q n"], nearest: int) -> Found:
    values, places = scores.topk(min(nearest, scores.shape[1]))
    return values, places


def _unit(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return torch.nn.functional.normalize(vectors, dim=1).contiguous()


def _seconds(search: Callable[[], Found]) -> float:
    """The fastest of a few runs after one that does not count: what else the machine does only adds to it."""
    search()
    took: list[float] = []
    while len(took) < _MOST_RUNS and (len(took) < 2 or sum(took) < _SECONDS):
        before = time.perf_counter()
        search()
        took.append(time.perf_counter() - before)
    return min(took)
