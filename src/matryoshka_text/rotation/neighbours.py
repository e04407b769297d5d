"""Nearest neighbours among vectors: exact, in blocks, ties settled; and which rows repeat an earlier one."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = ["distinct_rows", "nearest", "nearest_rows", "repeated_rows"]

_LOW32 = 0xFFFFFFFF
# Equal texts differ only by the rounding of their passes (cosine above 1 - 1e-6); one more full stop gives about 0.99.
_SAME = 1 - 1e-5


def nearest(vectors: Float[Tensor, "n d"], count: int, *, block: int = 1024) -> Iterator[tuple[list[int], list[float]]]:
    """For each row of unit `vectors`, the indices of its `count` nearest other rows, and their cosines, nearest first.

    Exact, in float32; of equally near rows the first. Of the n x n cosines no more than `block` x 16 `block` are kept
    at a time.
    """
    for keys in _keys_by_block(vectors, count, block):
        yield from zip(_indices(keys, len(vectors)).tolist(), _cosines(keys).tolist(), strict=True)


def nearest_rows(vectors: Float[Tensor, "n d"], count: int, *, block: int = 1024) -> Int64[Tensor, "n count"]:
    """The indices that `nearest` gives, as one tensor."""
    return torch.cat([_indices(keys, len(vectors)) for keys in _keys_by_block(vectors, count, block)])


def distinct_rows(vectors: Float[Tensor, "n d"], *, block: int = 1024) -> Int64[Tensor, " k"]:
    """The rows of unit `vectors` that repeat no earlier row, ascending; a repeat has a cosine above 0.99999 to it."""
    kept = []
    for start in range(0, len(vectors), block):
        rows = vectors[start : start + block]
        here = torch.arange(start, start + len(rows))
        # The block's own rows are compared with those above them only.
        own = torch.tril(rows @ rows.T, diagonal=-1) > _SAME
        repeats = own.any(1)
        for left in range(0, start, 16 * block):
            repeats |= (rows @ vectors[left : min(left + 16 * block, start)].T).amax(1) > _SAME
        kept.append(here[~repeats.cpu()])
    return torch.cat(kept) if kept else torch.empty(0, dtype=torch.int64)


def repeated_rows(
    vectors: Float[Tensor, "n d"], known: Float[Tensor, "m d"], *, block: int = 1024
) -> Bool[Tensor, " n"]:
    """Which rows of unit `vectors` repeat a row of unit `known`, as `distinct_rows` counts repeats."""
    found = torch.zeros(len(vectors), dtype=torch.bool)
    for start in range(0, len(vectors), block):
        for left in range(0, len(known), 16 * block):
            cosines = vectors[start : start + block] @ known[left : left + 16 * block].T
            found[start : start + block] |= (cosines.amax(1) > _SAME).cpu()
    return found


def _keys_by_block(vectors: Float[Tensor, "n d"], count: int, block: int) -> Iterator[Int64[Tensor, "q count"]]:
    total = len(vectors)
    for start in range(0, total, block):
        queries = vectors[start : start + block]
        best = torch.empty(len(queries), 0, dtype=torch.int64, device=vectors.device)
        for left in range(0, total, 16 * block):
            cosines = (queries @ vectors[left : left + 16 * block].T).clamp(-1, 1)
            own = torch.arange(start, start + len(queries), device=vectors.device) - left
            inside = (own >= 0) & (own < cosines.shape[1])
            cosines[inside.nonzero().squeeze(1), own[inside]] = -torch.inf
            keys = torch.cat([best, _best(cosines, count, left, total)], dim=1)
            best = keys.topk(min(count, keys.shape[1]), dim=1).values
        yield best


def _best(cosines: Float[Tensor, "q n"], count: int, left: int, total: int) -> Int64[Tensor, "q k"]:
    """Keys of the `count` highest cosines of each row (all where there are fewer), of equal ones the first."""
    few = min(count, cosines.shape[1])
    values, columns = cosines.topk(few, dim=1)
    keys = _keys(values, columns + left, total)
    # topk takes any of several equal cosines at the end. Keys of all columns settle that, but take five times as long.
    tied = (cosines >= values[:, -1:]).sum(1) > few
    if bool(tied.any()):
        columns = torch.arange(left, left + cosines.shape[1], device=cosines.device)
        keys[tied] = _keys(cosines[tied], columns, total).topk(few, dim=1).values
    return keys


def _keys(cosines: Float[Tensor, "q n"], columns: Int64[Tensor, "..."], total: int) -> Int64[Tensor, "q n"]:
    """Whole numbers in the order of the cosines, and among equal ones in that of the columns, so no two are equal.

    A float32 read as an int32 grows with the number where it is positive, and shrinks where it is negative.
    """
    # + 0.0 makes -0.0 and 0.0 one number.
    bits = (cosines + 0.0).view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    return (ordered << 32) + (total - 1 - columns)


def _indices(keys: Int64[Tensor, "q k"], total: int) -> Int64[Tensor, "q k"]:
    return total - 1 - (keys & _LOW32)


def _cosines(keys: Int64[Tensor, "q k"]) -> Float[Tensor, "q k"]:
    ordered = (keys >> 32).to(torch.int32)
    return torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).view(torch.float32)
