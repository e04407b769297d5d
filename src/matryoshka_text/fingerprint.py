"""Hashes over folders: what tells two models, or two copies of a data set, apart."""

import hashlib
from pathlib import Path

from matryoshka_text.files import sha256_of

__all__ = ["data_fingerprint", "weights_hash"]

# What changes a model's vectors. The model card and training leftovers do not.
_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
_NO_MODEL_FILES = ("*.index.json", "trainer_state.json", "*results*.json")


def weights_hash(folder: Path) -> str:
    """sha256 (64 hex digits) over a saved model's weights, tokenizer and module configuration, names included."""
    files = {file for pattern in _MODEL_FILES for file in folder.rglob(pattern) if _visible(file, folder)}
    return _hash(folder, sorted(file for file in files if not any(file.match(no) for no in _NO_MODEL_FILES)))


def data_fingerprint(folder: Path) -> str:
    """sha256 (64 hex digits) over every file of a data folder, names included."""
    return _hash(folder, sorted(file for file in folder.rglob("*") if file.is_file() and _visible(file, folder)))


def _visible(file: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(folder).parts)


def _hash(folder: Path, files: list[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(folder).as_posix()}\0{sha256_of(file)}\n".encode())
    return total.hexdigest()
