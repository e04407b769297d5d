"""Held-out scores during training: every dim from vectors encoded once, and no draw of training's randomness."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from matryoshka_text.data import HeldOutRows
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.heldout import retrieval_score, similarity_score

__all__ = ["HeldOutScores", "held_out_scores"]


@dataclass(frozen=True)
class HeldOutScores:
    """Points (x 100) per held-out set and dim."""

    dims: tuple[int, ...]
    per_set: dict[str, list[float]]

    @property
    def mean(self) -> list[float]:
        """The mean over the sets, one per dim."""
        return [float(x) for x in np.mean(list(self.per_set.values()), axis=0)]

    def selected(self, rule: str) -> float:
        """The number that decides which checkpoint is best: the mean over dims, the smallest dim, or the full one."""
        return {"mean": float(np.mean(self.mean)), "smallest": self.mean[0], "full": self.mean[-1]}[rule]


def held_out_scores(encoder: MatryoshkaEncoder, sets: Sequence[HeldOutRows], dims: Sequence[int]) -> HeldOutScores:
    """Scores of the encoder as it stands, in float32 and without dropout; training's random state is left untouched."""
    state = torch.get_rng_state()
    was_training = encoder.training
    per_set = {}
    for held in sets:
        vectors = encoder.encode([*held.first, *held.second], batch_size=64, show_progress_bar=False)
        first, second = vectors[: len(held.first)], vectors[len(held.first) :]
        per_set[held.name] = (
            retrieval_score(first, second, dims)
            if held.scores is None
            else similarity_score(first, second, held.scores, dims)
        )
    encoder.train(was_training)
    torch.set_rng_state(state)
    return HeldOutScores(tuple(dims), per_set)
