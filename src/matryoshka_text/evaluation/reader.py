"""Texts to vectors through the store: only what is missing reaches the model."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.store import VectorStore, text_key

__all__ = ["Counts", "TextReader"]

# Texts between two writes to disk: what a kill can cost, and how often the progress bar moves.
PIECE = 512


@dataclass
class Counts:
    """What reading cost so far: texts that went through the model, texts found in the store, seconds in the model."""

    encoded: int = 0
    found: int = 0
    seconds: float = 0.0


class TextReader:
    """One model's prefixes of texts, each text encoded at most once for all dims and all later runs."""

    def __init__(
        self,
        encoder: Any,
        store: VectorStore,
        *,
        batch_size: int,
        layers: int | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.encoder = encoder
        self.store = store
        self.batch_size = batch_size
        self.layers = layers
        self.on_progress = on_progress
        self.counts = Counts()
        self._asked: set[bytes] = set()

    def read(
        self, texts: Sequence[str], *, role: str = "", prompt: str | None = None, dim: int, normalize: bool
    ) -> Float32[np.ndarray, "n dim"]:
        """The first `dim` coordinates of each text's vector, brought to length 1 where `normalize` is set.

        `role` is "query", "document" or "" and picks encode_query, encode_document or encode, as mteb does.
        """
        keys = [text_key(role, prompt, text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.store}
        new = set(keys) - self._asked
        self.counts.found += len(new) - len(missing)
        self._asked |= new
        if missing:
            self._encode(missing, role, prompt)
        vectors = self.store.prefixes(keys, dim)
        if normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def _encode(self, missing: dict[bytes, str], role: str, prompt: str | None) -> None:
        started = time.perf_counter()
        # Longest first over ALL texts, not within a piece: batches of equal length, and the peak of memory comes first.
        queue = sorted(missing.items(), key=lambda item: len(item[1]), reverse=True)
        self.on_progress(0, len(queue))
        for start in range(0, len(queue), PIECE):
            keys, texts = zip(*queue[start : start + PIECE], strict=True)
            vectors = self._vectors(list(texts), role, prompt)
            _require_finite(vectors, texts)
            self.store.add(keys, vectors)
            self.counts.encoded += len(texts)
            self.on_progress(min(start + PIECE, len(queue)), len(queue))
        self.counts.seconds += time.perf_counter() - started

    def _vectors(self, texts: list[str], role: str, prompt: str | None) -> np.ndarray:
        encode = {"query": self.encoder.encode_query, "document": self.encoder.encode_document}.get(
            role, self.encoder.encode
        )
        vectors = encode(
            texts,
            prompt=prompt,
            batch_size=self.batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=False,
            **({} if self.layers is None else {"layers": self.layers}),
        )
        return np.asarray(vectors, dtype=np.float32)


def _require_finite(vectors: np.ndarray, texts: Sequence[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        shown = "; ".join(repr(texts[row][:60]) for row in bad[:3])
        raise EvaluationError(
            f"the model gives vectors with NaN or infinite numbers for {len(bad)} of {len(texts)} texts, "
            f"such as {shown}; its weights are damaged, or overflow in this precision"
        )
