"""Whether config.json, weights and tokenizer of a saved model belong to the same model."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from matryoshka_text.encoder.foreign import WAY_OUT, FileFault, read_json, require_size

__all__ = ["require_agreement", "require_dense", "require_tokens"]

_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
_SPECIAL = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token")
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
    if depth:
        if not any(name.endswith(_MATRIX) for name in tensors):
            raise FileFault(f"{home}: found no vocabulary matrix; allowed: a model with all its weights; {WAY_OUT}")
        _require_shapes(place, config, tensors, width)
    if (config.get("pad_token_id") or 0) >= rows:
        raise FileFault(f"{place}: pad_token_id: found {config['pad_token_id']}; allowed: 0 to {rows - 1}; {WAY_OUT}")
    require_tokens(home, config)


def _require_shapes(
    place: Path, config: Mapping[str, Any], tensors: Mapping[str, list[int]], width: int | None
) -> None:
    """`FileFault` unless the embeddings and the inner layers are as config.json says, and all layers alike."""
    inner = config.get("intermediate_size") or config.get("hidden_dim")
    told = {
        "embeddings.position_embeddings.weight": [config.get("max_position_embeddings"), width],
        "embeddings.token_type_embeddings.weight": [config.get("type_vocab_size"), width],
        "embeddings.LayerNorm.weight": [width],
        "embeddings.LayerNorm.bias": [width],
        "intermediate.dense.bias": [inner],
        "ffn.lin1.bias": [inner],
    }
    for name, shape in tensors.items():
        number = _LAYER.search(name)
        end = next((end for end in told if name.endswith(end)), None)
        if end is not None:
            wanted: list[Any] = told[end]
        elif number is not None:
            wanted = tensors.get(name[: number.start(1)] + "0" + name[number.end(1) :], shape)
        else:
            continue
        if None not in wanted and shape != wanted:
            raise FileFault(f"{place}: size mismatch: found the shape {shape} of {name}; allowed: {wanted}; {WAY_OUT}")


def require_tokens(home: Path, config: Mapping[str, Any]) -> None:
    """`FileFault` if the tokenizer in `home` has ids above the vocabulary matrix of the model of `config`.

    transformers adds the special tokens of tokenizer_config.json that tokenizer.json lacks.
    """
    tokenizer, rows = home / "tokenizer.json", config.get("vocab_size")
    if rows and tokenizer.is_file() and (highest := _highest_token(tokenizer, home / "tokenizer_config.json")) >= rows:
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
    if settings.get("use_residual") and settings["out_features"] != settings["in_features"]:
        expected["residual.weight"] = expected["linear.weight"]
    if tensors and tensors != expected:
        raise FileFault(f"{home}: found the weights {dict(tensors)}; allowed by its config.json: {expected}; {WAY_OUT}")


def _stored_layers(tensors: Mapping[str, list[int]]) -> set[int]:
    """The layers, counted from 0, that have weights."""
    return {int(match[1]) for name in tensors if (match := _LAYER.search(name))}


def _listed(layers: list[int]) -> str:
    some = ", ".join(map(str, layers[:3])) + (", …" if len(layers) > 3 else "")
    return f"layer {some}" if len(layers) == 1 else f"{len(layers)} layers ({some}, counted from 0)"


def _highest_token(file: Path, settings: Path) -> int:
    """The highest token id of a tokenizer.json, with the special tokens that its `settings` add."""
    require_size(file)
    try:
        words = Tokenizer.from_file(str(file)).get_vocab()
    except Exception as error:  # tokenizers raises nothing narrower
        raise FileFault(f"{file}: found no tokenizer ({error}); {WAY_OUT}") from error
    named = read_json(settings) if settings.is_file() else {}
    special = [named.get(key) for key in _SPECIAL]
    contents = {one.get("content") if isinstance(one, dict) else one for one in special}
    added = {one for one in contents if isinstance(one, str)} - set(words)
    return max(*words.values(), len(words) + len(added) - 1) if words else len(added) - 1
