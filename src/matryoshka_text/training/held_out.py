"""Held-out scores during training: every dim from one encoding, and no draw of training's randomness."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr

from matryoshka_text.build.parts import Trained
from matryoshka_text.data import HeldOutRows
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.compat import tells_roles
from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM
from matryoshka_text.objectives.mlm import Mlm
from matryoshka_text.prompts import ModelPrompts, encode_as

__all__ = ["HeldOutScores", "held_out_scores", "retrieval_score", "similarity_score"]


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


def held_out_scores(
    trained: Trained, sets: Sequence[HeldOutRows], dims: Sequence[int], masking: Mlm | None = None
) -> HeldOutScores:
    """Scores of the model as it stands, in float32 and without dropout; training's random state is left untouched.

    Spearman correlation for sts, reciprocal rank for pairs, accuracy for labelled sets, and accuracy on the masked
    tokens for text: packed and masked as `masking` says, with seed 0, so that every evaluation guesses the same tokens.
    """
    state = torch.get_rng_state()
    was_training = trained.training
    trained.eval()
    per_set = {held.name: _scores(trained, held, dims, masking) for held in sets}
    trained.train(was_training)
    torch.set_rng_state(state)
    return HeldOutScores(tuple(dims), per_set)


def _scores(trained: Trained, held: HeldOutRows, dims: Sequence[int], masking: Mlm | None) -> list[float]:
    if held.kind == "text":
        assert trained.vocabulary is not None and masking is not None
        model = MatryoshkaMaskedLM.around(trained.encoder, trained.vocabulary)
        scores = model.scores(
            held.first,
            dims,
            max_length=masking.max_length,
            share=masking.share,
            replace=masking.replace,
            whole_words=masking.whole_words,
            packing=masking.packing,
        )
        return list(scores.accuracy)
    first, second = _vectors(trained.encoder, held)
    if held.kind == "labelled":
        return _accuracy(trained, first, held.labels or [], dims)
    if held.scores is None:
        return retrieval_score(first, second, dims)
    return similarity_score(first, second, held.scores, dims)


def _vectors(encoder: MatryoshkaEncoder, held: HeldOutRows) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of both columns, each with its prompt, pairs as queries and documents: what the saved model gives."""
    prompts = [ModelPrompts.of(encoder).text(name) for name in held.prompts]
    roles = ("query", "document") if held.kind == "pairs" and tells_roles(encoder) else ("", "")
    if len(set(zip(prompts, roles, strict=False))) == 1:
        vectors = encoder.encode([*held.first, *held.second], prompt=prompts[0], show_progress_bar=False)
        return vectors[: len(held.first)], vectors[len(held.first) :]
    first, second = (
        encode_as(encoder, role)(texts, prompt=prompt, show_progress_bar=False)
        for texts, prompt, role in zip((held.first, held.second), prompts, roles, strict=True)
    )
    return first, second


def _accuracy(trained: Trained, vectors: np.ndarray, labels: Sequence[str], dims: Sequence[int]) -> list[float]:
    """The share of texts whose class the head names, x 100."""
    head = trained.classes
    assert head is not None
    rows = torch.from_numpy(vectors).to(trained.encoder.device)
    with torch.no_grad():
        guesses = [head.logits(rows, dim).argmax(1).tolist() for dim in dims]
    right = [[head.classes[i] == label for i, label in zip(guess, labels, strict=True)] for guess in guesses]
    return [100 * sum(row) / len(row) for row in right]


def similarity_score(
    first: Float[np.ndarray, "n d"],
    second: Float[np.ndarray, "n d"],
    gold: Float[np.ndarray, " n"],
    dims: Sequence[int],
) -> list[float]:
    """Spearman correlation x 100 of the prefixes' cosine with `gold`, one per dim."""
    return [100 * float(spearmanr(np.sum(_unit(first[:, :m]) * _unit(second[:, :m]), 1), gold).statistic) for m in dims]


def retrieval_score(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "n d"], dims: Sequence[int], *, block: int = 1024
) -> list[float]:
    """Mean reciprocal rank x 100, cut at 10, of each row's own partner among all partners, one per dim.

    Ties count against the partner.
    """
    scores = []
    for dim in dims:
        queries, candidates = _unit(first[:, :dim]), _unit(second[:, :dim])
        ranks = []
        for start in range(0, len(queries), block):
            similarity = queries[start : start + block] @ candidates.T
            own = similarity[np.arange(len(similarity)), np.arange(start, start + len(similarity))]
            ranks.append((similarity >= own[:, None]).sum(1))
        rank = np.concatenate(ranks)
        scores.append(100 * float(np.where(rank <= 10, 1 / rank, 0).mean()))
    return scores


def _unit(vectors: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms < 1e-12, 1, norms)
