"""Whether a saved model can guess masked tokens with its vocabulary matrix, read off its files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["has_own_decoder", "lacks_mask_token"]

_USUAL = ("[MASK]", "<mask>", "[mask]", "<MASK>")


def lacks_mask_token(path: Path) -> bool:
    """Whether the tokenizer saved in `path` surely has no mask token; False if its files do not say.

    A token that tokenizer_config.json or special_tokens_map.json names is one. Where neither does, the tokenizer's
    class may still have one by default, so only a vocabulary without any of the usual names settles it.
    """
    settings = _mapping(path / "tokenizer_config.json")
    if settings.get("mask_token") or _mapping(path / "special_tokens_map.json").get("mask_token"):
        return False
    if "mask_token" in settings:
        return True  # null, which no default replaces
    whole = _mapping(path / "tokenizer.json")
    model = whole.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    added = whole.get("added_tokens")
    if not vocabulary or not isinstance(added, list):
        return False
    # A unigram model lists [token, score], the others map token to number.
    known = {entry[0] if isinstance(entry, list) else entry for entry in vocabulary}
    known |= {token.get("content") for token in added if isinstance(token, dict)}
    return not known & set(_USUAL)


def has_own_decoder(config: Mapping[str, Any]) -> bool:
    """Whether a model with this config.json decodes with another matrix than its input embeddings.

    The families are tied where it says nothing.
    """
    return config.get("tie_word_embeddings") is False


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # not there, or damaged: opening the model will say so
    return found if isinstance(found, dict) else {}
