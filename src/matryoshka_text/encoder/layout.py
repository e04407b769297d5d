"""A saved model's files, so that sentence-transformers 3.0.1 and later, TEI, vLLM and SGLang read them.

sentence-transformers 6 moved its classes and renamed the pooling keys; older releases and the servers know the first
names, and the newer ones still accept them. So a module is written under its first name if the first format holds all
of its settings. Otherwise it stays as sentence-transformers wrote it, under a name that older releases refuse.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from matryoshka_text.encoder.compat import OUR_MODULES, PLAIN_TRANSFORMER
from matryoshka_text.files import write_whole

__all__ = ["OLDEST_READER", "SavedHead", "add_heads", "with_first_names"]

# The first release that reads the weights of a Dense (which a truncated model ends in) from safetensors, not a pickle.
OLDEST_READER = "3.0.1"
_SENTENCE = "sentence_embedding"
_DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function")
# The order in which the first releases concatenate, whatever the order was.
_POOLED = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


class SavedHead(Protocol):
    """What was trained on top of the vectors and lies in the model's folder."""

    def save(self, folder: Path) -> None:
        """The head's files, config.json and model.safetensors, in `folder`, which is there."""


def with_first_names(folder: Path, max_seq_length: int | None) -> None:
    """Rewrite what sentence-transformers 6 has saved in `folder` in the first releases' names, if they can hold it."""
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        kind = OUR_MODULES.get(module["type"])
        if kind is None:
            continue
        home = folder / module["path"] / ("sentence_bert_config.json" if kind == "Transformer" else "config.json")
        found = json.loads(home.read_text())
        config = _first_config(kind, found, max_seq_length)
        if config is not None:
            module["type"] = f"sentence_transformers.models.{kind}"
        if config not in (None, found):
            write_whole(home, json.dumps(config, indent=2) + "\n")
    write_whole(folder / "modules.json", json.dumps(modules, indent=2) + "\n")


def _first_config(kind: str, config: dict[str, Any], max_seq_length: int | None) -> dict[str, Any] | None:
    """A module's settings as the first releases name them; None if they had no name for one of them."""
    if kind == "Transformer":
        # Lower case is the tokenizer's own by now.
        first = {"max_seq_length": max_seq_length, "do_lower_case": False}
        return first if config == PLAIN_TRANSFORMER else None
    if kind == "Pooling":
        return _first_pooling(config)
    if {config[key] for key in ("module_input_name", "module_output_name")} != {_SENTENCE}:
        return None
    if kind == "Normalize":
        return config
    return None if config.get("use_residual") else {key: config[key] for key in _DENSE_KEYS}


def _first_pooling(config: dict[str, Any]) -> dict[str, Any] | None:
    mode = config["pooling_mode"]
    modes = [mode] if isinstance(mode, str) else list(mode)
    if modes != [name for name in _POOLED if name in modes]:
        return None
    return {
        "word_embedding_dimension": config["embedding_dimension"],
        **{key: name in modes for name, key in _POOLING_KEYS.items()},
        "include_prompt": config["include_prompt"],
    }


def add_heads(folder: Path, heads: Mapping[str, SavedHead], opened: Path | None) -> None:
    """Save each head to heads/<name> in `folder`; without any, copy those of the folder that the model is from."""
    for name, head in heads.items():
        home = folder / "heads" / name
        home.mkdir(parents=True)
        head.save(home)
    if not heads and opened is not None and (opened / "heads").is_dir():
        shutil.copytree(opened / "heads", folder / "heads")
