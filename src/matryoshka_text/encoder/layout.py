"""A saved model's files, so that sentence-transformers 3.0.1 and later, TEI, vLLM and SGLang read them.

sentence-transformers 6 moved its classes and renamed the pooling keys; older releases and the servers know the first
names, and the newer ones still accept them, so the first names are written.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from matryoshka_text.files import write_whole

__all__ = ["OLDEST_READER", "SavedHead", "add_heads", "with_first_names"]

# The first release that reads the weights of a Dense (which a truncated model ends in) from safetensors, not a pickle.
OLDEST_READER = "3.0.1"
_OLD_HOMES = {name: f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize", "Dense")}
_DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function")
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
    """Rewrite what sentence-transformers 6 has saved in `folder` in the first releases' names."""
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        module["type"] = _OLD_HOMES.get(kind, module["type"])
        if kind == "Pooling":
            _rewrite(folder / module["path"] / "config.json", _first_pooling)
        elif kind == "Dense":
            _with_first_dense(folder / module["path"])
        elif kind == "Transformer":
            home = folder / module["path"] / "sentence_bert_config.json"
            write_whole(home, json.dumps({"max_seq_length": max_seq_length, "do_lower_case": False}, indent=2) + "\n")
    write_whole(folder / "modules.json", json.dumps(modules, indent=2) + "\n")


def _first_pooling(config: dict[str, Any]) -> dict[str, Any]:
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else list(mode or ())
    if not modes or not set(modes) <= set(_POOLING_KEYS):
        return config
    return {
        "word_embedding_dimension": config.get("embedding_dimension", config.get("word_embedding_dimension")),
        **{key: name in modes for name, key in _POOLING_KEYS.items()},
        "include_prompt": config.get("include_prompt", True),
    }


def _with_first_dense(home: Path) -> None:
    config = json.loads((home / "config.json").read_text())
    names = {config.get("module_input_name"), config.get("module_output_name")} - {None}
    # The first releases know the sentence embedding alone, and take no word about it; no other Dense can be theirs.
    if config.get("use_residual") or not names <= {"sentence_embedding"}:
        return
    _rewrite(home / "config.json", lambda found: {key: found[key] for key in _DENSE_KEYS})


def add_heads(folder: Path, heads: Mapping[str, SavedHead], opened: Path | None) -> None:
    """Save each head to heads/<name> in `folder`; without any, copy those of the folder that the model is from."""
    for name, head in heads.items():
        home = folder / "heads" / name
        home.mkdir(parents=True)
        head.save(home)
    if not heads and opened is not None and (opened / "heads").is_dir():
        shutil.copytree(opened / "heads", folder / "heads")


def _rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    write_whole(path, json.dumps(change(json.loads(path.read_text())), indent=2) + "\n")
