"""The models of an evaluation: where they are, what they are called, how wide they are."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from matryoshka_text.encoder import MatryoshkaEncoder, resolve_model, width_of
from matryoshka_text.encoder.resolve import require_bert_family, require_weights
from matryoshka_text.fingerprint import weights_hash

__all__ = ["Subject", "open_subjects"]


@dataclass(frozen=True)
class Subject:
    """A model found on this machine; its weights are opened only when something has to be encoded."""

    name: str
    label: str
    path: Path
    origin: Literal["folder", "cache", "hub", "package"]
    weights: str
    width: int
    dims: tuple[int, ...] | None

    def encoder(self, device: str | None) -> MatryoshkaEncoder:
        """The opened model, giving full width whatever its configuration cuts by default."""
        from transformers.utils import logging

        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            encoder = MatryoshkaEncoder(str(self.path), device=device)
        finally:
            if bars:
                logging.enable_progress_bar()
        encoder.truncate_dim = None
        return encoder.eval()


def open_subjects(names: Sequence[str]) -> tuple[Subject, ...]:
    """The models in the order given, each once, with different labels. `ModelError` for one that cannot be had."""
    found: dict[str, Subject] = {}
    for name in names:
        subject = _subject(name)
        found.setdefault(subject.weights, subject)
    labels = Counter(subject.label for subject in found.values())
    return tuple(
        replace(one, label=f"{one.label}@{one.weights[:6]}") if labels[one.label] > 1 else one for one in found.values()
    )


def _subject(name: str) -> Subject:
    resolved = resolve_model(name)
    require_bert_family(resolved.path, name)
    require_weights(resolved.path, name)
    width = width_of(resolved.path) or MatryoshkaEncoder(str(resolved.path), device="cpu").width
    org_name = _folder_name(resolved.path) if resolved.origin == "folder" else resolved.name
    if "/" not in org_name:
        # mteb needs a slash; a few of the oldest hub ids have none.
        org_name = f"{'local' if resolved.origin == 'folder' else 'hub'}/{org_name}"
    return Subject(
        name=org_name,
        label=org_name.rpartition("/")[2],
        path=resolved.path,
        origin=resolved.origin,
        weights=weights_hash(resolved.path),
        width=width,
        dims=_trained_dims(resolved.path, width),
    )


def _folder_name(path: Path) -> str:
    """What a saved model is called: its folder, or for <run>/model the run."""
    named = path.parent if path.name in ("model", "checkpoint") and path.parent.name else path
    return re.sub(r"[^A-Za-z0-9._-]+", "-", named.name).strip("-.") or "model"


def _trained_dims(path: Path, width: int) -> tuple[int, ...] | None:
    config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    dims = config.get("matryoshka_dimensions")
    usable = isinstance(dims, list) and bool(dims) and all(isinstance(dim, int) and 0 < dim <= width for dim in dims)
    # Models of others list them in any order.
    return tuple(sorted(set(dims))) if usable and isinstance(dims, list) else None
