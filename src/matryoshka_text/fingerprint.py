"""Hashes over folders: what tells two models, or two copies of a data set, apart."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from matryoshka_text.files import sha256_of

__all__ = ["data_fingerprint", "weights_hash"]

# What the libraries read of a model's folder: weights, configurations, and each family's vocabulary, merges and pieces.
_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.bpe", "*.codes", "*.vocab", "*.jinja")
# Left over from training and evaluation.
_NO_MODEL_FILES = ("trainer_state.json", "*results*.json")
_MODULE_TYPE = re.compile(rb'"type"\s*:\s*"(?!sentence_transformers\.)')


def weights_hash(folder: Path) -> str:
    """sha256 (64 hex digits) over all that is read of a saved model, names included; pickles and cards never are.

    Python files count if the configuration names code of the model's own.
    """
    patterns = (*_MODEL_FILES, "*.py") if _names_code(folder) else _MODEL_FILES
    files = (file for file in _visible_files(folder) if any(file.match(one) for one in patterns))
    return _hash(folder, sorted(file for file in files if not any(file.match(no) for no in _NO_MODEL_FILES)))


def _names_code(folder: Path) -> bool:
    auto = (file for file in _visible_files(folder) if file.name in ("config.json", "tokenizer_config.json"))
    modules = folder / "modules.json"
    return any(b'"auto_map"' in file.read_bytes() for file in auto) or (
        modules.is_file() and _MODULE_TYPE.search(modules.read_bytes()) is not None
    )


def data_fingerprint(folder: Path) -> str:
    """sha256 (64 hex digits) over every file of a data folder, names included."""
    return _hash(folder, sorted(_visible_files(folder)))


def _visible_files(folder: Path) -> Iterator[Path]:
    """All files below `folder`, through links to folders too, but for hidden ones."""
    seen = set()
    for home, folders, files in os.walk(folder, followlinks=True):
        # A link may lead back to where it is.
        if (real := os.path.realpath(home)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = (name for name in folders if not name.startswith("."))
        yield from (Path(home, name) for name in files if not name.startswith(".") and Path(home, name).is_file())


def _hash(folder: Path, files: list[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(folder).as_posix()}\0{sha256_of(file)}\n".encode())
    return total.hexdigest()
