"""What is known of a base before anything is trained: read off its files, and off the encoder once it is open."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matryoshka_text.build.masks import has_own_decoder, lacks_mask_token
from matryoshka_text.data import SourceRows
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.compat import has_ways
from matryoshka_text.encoder.folder import ModelFolder
from matryoshka_text.recipe.facts import BaseFacts
from matryoshka_text.section import value_of

__all__ = ["facts_of_data", "facts_of_files", "facts_of_model"]


def facts_of_files(folder: ModelFolder) -> BaseFacts:
    """What the files of a saved model say; nothing is opened."""
    return BaseFacts(
        width=folder.width,
        depth=folder.depth,
        hidden=folder.hidden,
        matrix=folder.matrix,
        masks=not lacks_mask_token(folder.home),
        tied=not has_own_decoder(folder.config),
        dense=folder.last_dense,
        routes=folder.has_routes,
        own_reading=folder.own_reading,
        pooling=bool(folder.modules),
        prompts=frozenset({"query", "document", *folder.prompts}),
    )


def facts_of_model(encoder: MatryoshkaEncoder, *, depth: int | None, tokens: int | None) -> BaseFacts:
    """What the open encoder and its files say; `depth` and `tokens` (how many it can read) if somebody asked."""
    files = facts_of_files(encoder.folder) if encoder.folder is not None else BaseFacts()
    words = bool(getattr(encoder.tokenizer, "is_fast", False))
    # An encoder that is open has been given a pooling, its own or the recipe's.
    return replace(
        files,
        width=encoder.width,
        depth=depth,
        tokens=tokens,
        words=words,
        pooling=None,
        prompts=frozenset(encoder.prompts),
        routes=has_ways(encoder),
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
    return teachers, {place: len(found) for place, found in rows.items()}
