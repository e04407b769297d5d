"""Texts to vectors through the store: only what is missing reaches the model."""

import errno
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from matryoshka_text.errors import EvaluationError, RunError
from matryoshka_text.files import require_space
from matryoshka_text.prompts import ModelPrompts, encode_as
from matryoshka_text.vectors.store import VectorStore, text_key

__all__ = ["DISK_FULL", "ROLE_SETTINGS", "Counts", "TextReader"]

# Texts between two writes to disk: what a kill can cost, and how often the progress bar moves.
PIECE = 512
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Settings of sentence-transformers' Transformer by which it cuts or fills up queries and documents differently.
ROLE_SETTINGS = ("query_length", "document_length", "query_expansion")


@dataclass
class Counts:
    """What reading cost so far: texts that went through the model, texts found in the store, seconds in the model."""

    encoded: int = 0
    found: int = 0
    seconds: float = 0.0


class TextReader:
    """One model's vectors of texts, each text encoded at most once for all dims and all later runs.

    `before` sees the texts of every call that encodes some of them. `elsewhere` continues the advice to free some
    space where the disk is full: how to store on another disk.
    """

    def __init__(
        self,
        encoder: Any,
        store: VectorStore,
        *,
        batch_size: int | None = None,
        layers: int | None = None,
        dtype: str | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        before: Callable[[Sequence[str]], None] = lambda texts: None,
        elsewhere: str = "",
    ) -> None:
        self.encoder = encoder
        self.store = store
        self.batch_size = batch_size
        self.layers = layers
        self.dtype = dtype
        self.on_progress = on_progress
        self.before = before
        self.elsewhere = elsewhere
        self.counts = Counts()
        self._asked: set[bytes] = set()

    def read(
        self, texts: Sequence[str], *, role: str = "", prompt: str | None = None, dim: int
    ) -> Float32[np.ndarray, "n dim"]:
        """The first `dim` coordinates of each text's vector, as the model gave them.

        `role` is "query", "document" or "" and picks encode_query, encode_document or encode, as mteb does.
        `RunError` if the disk cannot hold the vectors, `EvaluationError` if a vector is no numbers.
        """
        # What is encoded is settled here, so that the key says what was encoded.
        prompt = ModelPrompts.of(self.encoder).text(role or None) if prompt is None else prompt
        routed = self._role(role)
        keys = [text_key(routed, prompt or None, text) for text in texts]
        missing = self._missing(keys, texts)
        if missing:
            # All of them, not what is missing: after a kill that is an odd rest, the shortest texts.
            self.before(texts)
            started = time.perf_counter()
            encode, how = encode_as(self.encoder, role), self._settings()
            self.on_progress(0, len(missing))
            for start in range(0, len(missing), PIECE):
                names, piece = zip(*missing[start : start + PIECE], strict=True)
                vectors = np.asarray(encode(list(piece), prompt=prompt, **how), dtype=np.float32)
                _require_finite(vectors, piece)
                self._keep(names, vectors)
                self.counts.encoded += len(piece)
                self.on_progress(min(start + PIECE, len(missing)), len(missing))
            self.counts.seconds += time.perf_counter() - started
        return self.store.prefixes(keys, dim)

    def _missing(self, keys: list[bytes], texts: Sequence[str]) -> list[tuple[bytes, str]]:
        """The texts that the store does not have, by their keys, the longest first."""
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.store}
        new = set(keys) - self._asked
        self.counts.found += len(new) - len(missing)
        self._asked |= new
        if missing:
            needed = len(missing) * (4 * self.store.width + 32)
            require_space(self.store.folder, needed, what=f"storing {len(missing):,} vectors")
        # Longest first over ALL texts, not within a piece: batches of equal length, and the peak of memory comes first.
        return sorted(missing.items(), key=lambda item: len(item[1]), reverse=True)

    def _settings(self) -> dict[str, Any]:
        given = {"batch_size": self.batch_size, "layers": self.layers, "dtype": self.dtype}
        how = {"show_progress_bar": False, "convert_to_numpy": True, "normalize_embeddings": False}
        return how | {name: value for name, value in given.items() if value is not None}

    def _role(self, role: str) -> str:
        """The part of the key that the role is: nothing if the model treats queries and documents alike."""
        return role if any(map(_reads_role, _modules(self.encoder))) else ""

    def _keep(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        try:
            self.store.add(keys, vectors)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise RunError(
                f"{self.store.folder}: the disk is full ({error.strerror}) while storing vectors; "
                f"what was encoded before is kept: free some space{self.elsewhere}, and run the same command again"
            ) from error


def _modules(encoder: Any) -> list[Any]:
    return list(encoder) if hasattr(encoder, "__iter__") else []


def _reads_role(module: Any) -> bool:
    """Whether the module may give a query another vector than a document of the same words: a Router, lengths of each
    role, a model that is told the role, and code that we do not know.
    """
    if not type(module).__module__.startswith("sentence_transformers."):
        return True
    if any(getattr(module, name, None) is not None for name in ROLE_SETTINGS) or "task" in module.forward_kwargs:
        return True
    backbone = getattr(module, "auto_model", None)
    return backbone is not None and "task" in inspect.signature(backbone.forward).parameters


def _require_finite(vectors: np.ndarray, texts: Sequence[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        shown = "; ".join(repr(texts[row][:60]) for row in bad[:3])
        raise EvaluationError(
            f"the model gives vectors with NaN or infinite numbers for {len(bad)} of {len(texts)} texts, "
            f"such as {shown}; its weights are damaged, or overflow in this precision"
        )
