"""Sources out of one file that mixes kinds of text: k-means over its vectors."""

import logging
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from matryoshka_text.rotation import FitSettings, Split

__all__ = ["divided"]

log = logging.getLogger(__name__)

_ROUNDS = 25


def divided(parts: Mapping[str, Split], count: int, settings: FitSettings) -> dict[str, Split]:
    """Each source divided into at most `count` by k-means of its unit vectors, the largest first; 1: as it is.

    A cluster with fewer rows to learn from than a batch has anchors (or than a neighbourhood needs) has too few texts
    for its neighbourhoods to mean something, and is dissolved into the others. Held-back rows go to the nearest
    cluster. The names get " #1", " #2", … .
    """
    if count == 1:
        return dict(parts)
    least, seed = max(settings.anchors, settings.neighbours + 2), settings.seed
    found = {}
    for name, part in parts.items():
        learned, held_back = normalize(part.learned, dim=1), normalize(part.held_back, dim=1)
        centres = _centres(learned, count, least, seed)
        near, near_held_back = _nearest(learned, centres), _nearest(held_back, centres)
        if len(centres) < min(count, len(learned)):
            log.info("%s: divided into %s sources; more would have fewer than %s texts", name, len(centres), least)
        for number in range(len(centres)):
            own = Split(part.learned[near == number], part.held_back[near_held_back == number])
            found[f"{name} #{number + 1}"] = own
    return found


def _centres(unit: Float[Tensor, "n width"], count: int, least: int, seed: int) -> Float[Tensor, "k width"]:
    """Centres by falling size of their clusters, from k-means++ and `_ROUNDS` rounds."""
    centres = _start(unit, count, seed)
    for _ in range(_ROUNDS):
        near = _nearest(unit, centres)
        sums = torch.zeros_like(centres).index_add_(0, near, unit)
        filled = near.bincount(minlength=len(centres)) > 0
        centres = normalize(sums[filled], dim=1)
    while True:
        sizes = _nearest(unit, centres).bincount(minlength=len(centres))
        centres, sizes = centres[sizes.argsort(descending=True, stable=True)], sizes.sort(descending=True).values
        if len(centres) == 1 or sizes[-1] >= least:
            return centres
        centres = centres[:-1]


def _start(unit: Float[Tensor, "n width"], count: int, seed: int) -> Float[Tensor, "k width"]:
    """k-means++ (Arthur and Vassilvitskii, 2007): each next centre drawn by squared distance to the nearest so far."""
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(unit), (1,), generator=generator))]
    far = 1 - unit @ unit[chosen[0]]
    for _ in range(1, min(count, len(unit))):
        weights = far.clamp(min=0)
        if not bool(weights.sum() > 0):
            break
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
        far = torch.minimum(far, 1 - unit @ unit[chosen[-1]])
    return unit[chosen]


def _nearest(unit: Float[Tensor, "n width"], centres: Float[Tensor, "k width"]) -> Int64[Tensor, " n"]:
    return (unit @ centres.T).argmax(1)
