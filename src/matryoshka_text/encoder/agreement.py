"""Whether config.json, weights and tokenizer of a saved model belong to the same model."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from matryoshka_text.encoder.foreign import WAY_OUT, FileFault, require_size

__all__ = ["require_agreement", "require_dense", "require_tokens"]

_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
_MATRIX = ("word_embeddings.weight", "tok_embeddings.weight")


def require_agreement(
    home: Path, config: Mapping[str, Any], tensors: Mapping[str, list[int]], depth: int | None
) -> None:
    """`FileFault` if the transformers model in `home` lacks a layer or its matrix, or has token ids without a row.

    `tensors` are the shapes of its weights by name; `depth` None: its layers are not looked for.
    """
    place, rows = home / "config.json", config.get("vocab_size")
    if depth and (absent := sorted(set(range(depth)) - _stored_layers(tensors))):
        raise FileFault(
            f"{place}: num_hidden_layers: found {depth}, but {home} holds no weights of {_listed(absent)}; "
            f"allowed: a model with all its layers; {WAY_OUT}"
        )
    if not rows:
        return
    width = config.get("embedding_size") or config.get("hidden_size") or config.get("dim")
    for name, shape in tensors.items():
        if name.endswith(_MATRIX) and width and shape != [rows, width]:
            raise FileFault(
                f"{place}: size mismatch: found {rows} words of width {width} (vocab_size), but {name} has "
                f"the shape {shape}; {WAY_OUT}"
            )
    if (config.get("pad_token_id") or 0) >= rows:
        raise FileFault(f"{place}: pad_token_id: found {config['pad_token_id']}; allowed: 0 to {rows - 1}; {WAY_OUT}")
    require_tokens(home, config)


def require_tokens(home: Path, config: Mapping[str, Any]) -> None:
    """`FileFault` if the tokenizer.json in `home` has ids above the vocabulary matrix of the model of `config`."""
    tokenizer, rows = home / "tokenizer.json", config.get("vocab_size")
    if rows and tokenizer.is_file() and (highest := _highest_token(tokenizer)) >= rows:
        raise FileFault(
            f"{tokenizer}: found the token id {highest}, but the vocabulary matrix has {rows} rows (vocab_size); "
            "allowed: a row for each token; after adding tokens call model.resize_token_embeddings(len(tokenizer)), "
            "then save both"
        )


def require_dense(home: Path, settings: Mapping[str, Any], tensors: Mapping[str, list[int]]) -> None:
    """`FileFault` if the weights of the Dense in `home` (`tensors`: their shapes) are not those of its settings."""
    expected = {"linear.weight": [settings["out_features"], settings["in_features"]]}
    if settings.get("bias", True):
        expected["linear.bias"] = [settings["out_features"]]
    if tensors and tensors != expected:
        raise FileFault(f"{home}: found the weights {dict(tensors)}; allowed by its config.json: {expected}; {WAY_OUT}")


def _stored_layers(tensors: Mapping[str, list[int]]) -> set[int]:
    """The layers, counted from 0, that have weights."""
    return {int(match[1]) for name in tensors if (match := _LAYER.search(name))}


def _listed(layers: list[int]) -> str:
    some = ", ".join(map(str, layers[:3])) + (", …" if len(layers) > 3 else "")
    return f"layer {some}" if len(layers) == 1 else f"{len(layers)} layers ({some}, counted from 0)"


def _highest_token(file: Path) -> int:
    """The highest token id of a tokenizer.json."""
    require_size(file)
    try:
        return max(Tokenizer.from_file(str(file)).get_vocab().values(), default=-1)
    except Exception as error:  # tokenizers raises nothing narrower
        raise FileFault(f"{file}: found no tokenizer ({error}); {WAY_OUT}") from error
