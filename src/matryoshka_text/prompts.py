"""What sentence-transformers puts before a text: a model's prompts by name, and the three ways to encode."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ModelPrompts", "encode_as"]


@dataclass(frozen=True)
class ModelPrompts:
    """The prompts of a model by name, and the name of the one that `encode` uses (None: none).

    `encode_query` uses the one called query, and `encode_document` the one called document.
    """

    texts: Mapping[str, str]
    default: str | None = None

    @classmethod
    def of(cls, encoder: Any) -> "ModelPrompts":
        """Those of a `SentenceTransformer`."""
        return cls(dict(getattr(encoder, "prompts", None) or {}), getattr(encoder, "default_prompt_name", None))

    def text(self, name: str | None) -> str:
        """The prompt of that name; None: the one that `encode` uses. Empty if there is none."""
        name = self.default if name is None else name
        return self.texts.get(name, "") if name else ""


def encode_as(encoder: Any, role: str) -> Callable[..., Any]:
    """The model's `encode_query` for "query", `encode_document` for "document", and else its `encode`."""
    names = {"query": "encode_query", "document": "encode_document"}
    method: Callable[..., Any] = getattr(encoder, names.get(role, "encode"))
    return method
