"""How much of a text's neighbourhood at full width its prefixes keep: what a rotation can be judged by, no labels."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from matryoshka_text.rotation.neighbours import nearest_rows

__all__ = ["SHARES", "dims_to_look_at", "neighbours_kept", "smallest_dims"]

SHARES = (0.90, 0.95, 0.99)


def neighbours_kept(
    vectors: Float[Tensor, "n d"],
    dims: Sequence[int],
    *,
    asked: Int64[Tensor, " q"] | None = None,
    rotation: Float[Tensor, "d d"] | None = None,
    count: int = 10,
) -> dict[int, float]:
    """By dim, the share of the `count` nearest rows at full width that are also the nearest by the prefix, from 0 to 1.

    Neighbours are by cosine; the mean over the rows `asked` (None: all), whose neighbours are looked for among all
    rows. `rotation`: prefixes of `vectors @ rotation`. At full width the share is 1 but for ties.
    """
    unit = normalize(vectors.float(), dim=1)
    rows = torch.arange(len(unit)) if asked is None else asked
    few = min(count, len(unit) - 1)
    turned = unit if rotation is None else unit @ rotation.float()
    true = _nearest_of(rows, unit, few)
    found = {}
    for dim in dims:
        near = _nearest_of(rows, normalize(turned[:, :dim], dim=1), few)
        found[dim] = float((near[:, :, None] == true[:, None, :]).any(2).float().mean())
    return found


def dims_to_look_at(dims: Sequence[int], width: int) -> tuple[int, ...]:
    """`dims` and the eighths of the width: between the halvings of a width the answer may lie at 3/8 or 3/4 of it."""
    return tuple(sorted({*dims, *(width * eighth // 8 for eighth in range(1, 8))} - {0}))


def smallest_dims(kept: Mapping[int, float], shares: Sequence[float] = SHARES) -> dict[float, int | None]:
    """For each share, the smallest dim from which on every one of `kept` keeps that much; None if none does."""
    found: dict[float, int | None] = {}
    for share in shares:
        smallest = None
        for dim in sorted(kept, reverse=True):
            if kept[dim] < share:
                break
            smallest = dim
        found[share] = smallest
    return found


def _nearest_of(rows: Int64[Tensor, " q"], unit: Float[Tensor, "n d"], count: int) -> Int64[Tensor, "q count"]:
    """The nearest other rows of each of `rows`."""
    if len(rows) == len(unit):
        return nearest_rows(unit, count)
    found = []
    for block in torch.split(rows, 1024):
        cosines = unit[block] @ unit.T
        cosines.scatter_(1, block[:, None], -torch.inf)
        found.append(cosines.topk(count, dim=1).indices)
    return torch.cat(found)
