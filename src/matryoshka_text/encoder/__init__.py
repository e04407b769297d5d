"""Pretrained encoders: found, opened, read at any prefix, saved for everybody else's tools."""

from matryoshka_text.encoder.matryoshka import MatryoshkaEncoder
from matryoshka_text.encoder.resolve import Resolved, resolve_model, width_of

__all__ = ["MatryoshkaEncoder", "Resolved", "resolve_model", "width_of"]
