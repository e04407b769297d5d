"""Pretrained encoders: found, opened, read at any prefix, saved for everybody else's tools."""

from importlib import import_module
from typing import TYPE_CHECKING

from matryoshka_text.encoder.folder import width_of
from matryoshka_text.encoder.resolve import Resolved, resolve_model

if TYPE_CHECKING:
    from matryoshka_text.encoder.matryoshka import MatryoshkaEncoder

__all__ = ["MatryoshkaEncoder", "Resolved", "resolve_model", "width_of"]


def __getattr__(name: str) -> object:
    # Lazy: `mtext check` looks a model's width up in its config.json and must not pay for importing torch.
    if name == "MatryoshkaEncoder":
        return import_module("matryoshka_text.encoder.matryoshka").MatryoshkaEncoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
