"""What is known of a base before anything is trained: read off its files, and off the encoder once it is open."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matryoshka_text.build.masks import has_own_decoder, lacks_mask_token
from matryoshka_text.data import SourceRows
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.compat import has_ways
from matryoshka_text.encoder.resolve import has_routes, width_of
from matryoshka_text.recipe.facts import BaseFacts
from matryoshka_text.section import value_of

__all__ = ["facts_of_data", "facts_of_files", "facts_of_model"]


def facts_of_files(path: Path) -> BaseFacts:
    """What the files of the model saved in `path` say; nothing is opened."""
    config: Mapping[str, Any] = json.loads((path / "config.json").read_text())
    return BaseFacts(
        width=width_of(path),
        depth=_number(config, "num_hidden_layers", "n_layers"),
        hidden=_number(config, "hidden_size", "dim"),
        matrix=_number(config, "embedding_size"),
        masks=not lacks_mask_token(path),
        tied=not has_own_decoder(config),
        dense=_last_dense(path),
        routes=has_routes(path),
        pooling=(path / "modules.json").is_file(),
    )


def facts_of_model(encoder: MatryoshkaEncoder, *, depth: int | None, tokens: int | None) -> BaseFacts:
    """What the open encoder and its files say; `depth` and `tokens` (how many it can read) if somebody asked."""
    files = facts_of_files(encoder.resolved.path) if encoder.resolved is not None else BaseFacts()
    words = bool(getattr(encoder.tokenizer, "is_fast", False))
    # An encoder that is open has been given a pooling, its own or the recipe's.
    return replace(
        files, width=encoder.width, depth=depth, tokens=tokens, words=words, pooling=None, routes=has_ways(encoder)
    )


def facts_of_data(objectives: Sequence[Any], rows: Mapping[int, SourceRows]) -> tuple[dict[int, int], dict[int, int]]:
    """The widths of stored teachers' vectors by the objective's place, and the texts of sources by theirs.

    `rows` holds the rows of the sources that could be read, by place.
    """
    widths = [found.vectors[0].shape[1] for found in rows.values() if found.vectors is not None]
    teachers = {
        place: int(widths[0])
        for place, objective in enumerate(objectives)
        if widths and value_of(objective, "kind") == "distill" and value_of(objective, "vectors") is True
    }
    return teachers, {place: len(found.texts) for place, found in rows.items()}


def _number(config: Mapping[str, Any], *keys: str) -> int | None:
    """The first of `keys` that the configuration has as a number."""
    return next((config[key] for key in keys if isinstance(config.get(key), int)), None)


def _last_dense(path: Path) -> tuple[int, int] | None:
    """In and out of the Dense that the saved model ends in, before its Normalize; None if it does not end in one."""
    try:
        modules = json.loads((path / "modules.json").read_text(encoding="utf-8"))
        before = [one for one in modules if not one["type"].endswith(".Normalize")]
        if not before[-1]["type"].endswith(".Dense"):
            return None
        config = json.loads((path / before[-1]["path"] / "config.json").read_text(encoding="utf-8"))
        return int(config["in_features"]), int(config["out_features"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # no sentence-transformers model, or a damaged one: opening it will say so
