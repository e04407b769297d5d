"""Texts without padding: one row of all their tokens, for attention that knows where each text ends."""

from collections.abc import Callable, Mapping
from typing import Any

from sentence_transformers import SentenceTransformer

__all__ = ["unpadded"]


def unpadded(encoder: SentenceTransformer) -> Callable[[list[dict[str, list[int]]]], Mapping[str, Any]] | None:
    """What makes one unpadded row of several texts' token ids, as the encoder's own preprocessing does.

    None where the backbone cannot read such a row: its attention is not FlashAttention's variable-length one.
    """
    module: Any = encoder[0]
    if not getattr(module, "can_flatten_inputs", False):
        return None

    def collate(texts: list[dict[str, list[int]]]) -> Mapping[str, Any]:
        features: dict[str, Any] = dict(
            module.data_collator([{k: v for k, v in text.items() if k != "attention_mask"} for text in texts])
        )
        features.pop("labels", None)
        # Families whose positions count from the padding id; sentence-transformers keeps the offset to itself.
        if offset := getattr(module, "_flatten_position_offset", 0):
            features["position_ids"] = features["position_ids"] + offset
        return features

    return collate
