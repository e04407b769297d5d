"""An index's own rotation: learned from its vectors, and how well prefixes keep their neighbourhoods."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32

from matryoshka_text.progress import Progress
from matryoshka_text.rotation import FitSettings, Rotation, learn, neighbours_kept
from matryoshka_text.search.corpus import Corpus

__all__ = ["kept_by_prefixes", "own_rotation"]

log = logging.getLogger(__name__)

# Below, the principal axes by themselves are the better rotation (eval/LOG.md, 2026-11-28).
_LEARNED_FROM = 1_000
_ASKED, _AMONG = 500, 20_000


def own_rotation(
    vectors: Float32[np.ndarray, "n width"], dims: Sequence[int], *, seed: int, progress: bool
) -> Rotation | None:
    """The rotation that `vectors` teach; None, with a note in the log, if they are fewer than twice the width."""
    rows, width = vectors.shape
    if rows < 2 * width:
        log.info("%s vectors are too few to learn a rotation of width %s from: it is left out", f"{rows:,}", width)
        return None
    settings = FitSettings(seed=seed, steps=400 if rows >= _LEARNED_FROM else 0)
    with Progress("rotation", "steps", settings.steps, shown=progress) as bar:
        return learn({"vectors": vectors}, dims, settings, on_step=lambda step: bar(1)).rotation


def kept_by_prefixes(corpus: Corpus, dims: Sequence[int], *, seed: int) -> dict[int, float]:
    """By dim, the share of the 10 nearest rows at full width that the prefix keeps, of rows drawn from the corpus."""
    draw = np.random.default_rng(seed)
    rows = np.sort(draw.permutation(len(corpus))[:_AMONG])
    if len(rows) < 2:
        return {dim: 1.0 for dim in dims}
    sample = torch.from_numpy(corpus.gather(rows, corpus.width))
    asked = torch.from_numpy(draw.permutation(len(rows))[:_ASKED])
    return neighbours_kept(sample, dims, asked=asked)
