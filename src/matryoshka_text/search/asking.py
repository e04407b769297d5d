"""Texts as queries: encoded by the model that made the index's vectors."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from matryoshka_text.encoder.matryoshka import MatryoshkaEncoder
from matryoshka_text.errors import ModelError
from matryoshka_text.search.index import PrefixIndex

__all__ = ["Asker"]


class Asker:
    """Encodes queries for an index."""

    def __init__(self, index: PrefixIndex, model: str | None = None, *, trust_remote_code: bool = False) -> None:
        """Open the index's own model, or `model`. `ModelError` if that is another, or none is known.

        `trust_remote_code`: run the Python code that the model brings along.
        """
        origin = index.record.origin
        name = model or (origin.model if origin else None)
        if name is None:
            raise ModelError(
                "the index's vectors came without a model, so texts cannot be compared with them; name the one that "
                "made them with --model"
            )
        self.encoder = MatryoshkaEncoder(name, trust_remote_code=trust_remote_code)
        self._layers = origin.layers if origin else None
        width = index.width
        if origin is None:
            found = self.encoder.width
            if found != width:
                raise ModelError(
                    f"{name}: gives vectors of width {found}; the index has {width}: give the model that made them"
                )
        elif self.encoder.resolved and (found_hash := self.encoder.resolved.weights()) != origin.weights:
            raise ModelError(
                f"{name}: has other weights (sha256 {found_hash[:12]}) than the model that made the index's vectors "
                f"({origin.model}, sha256 {origin.weights[:12]}); give that one with --model, or encode and index again"
            )
        self._dim = width

    def __call__(self, texts: Sequence[str]) -> Float32[np.ndarray, "q width"]:
        """Unit vectors of the texts, as queries (with the model's prompt for queries, if it has one)."""
        found: np.ndarray = self.encoder.encode_query(
            list(texts), dim=self._dim, layers=self._layers, show_progress_bar=False
        )
        return found
