"""What the data were: hashes that a run stores, and that resuming compares."""

import hashlib
import json
from pathlib import Path

from matryoshka_text.data.hub import open_hub
from matryoshka_text.data.kinds import column_names
from matryoshka_text.data.sources import path_of
from matryoshka_text.errors import DataError
from matryoshka_text.files import sha256_of
from matryoshka_text.recipe import HeldOut, Recipe, Source

__all__ = ["fingerprint"]


def fingerprint(recipe: Recipe) -> dict[str, str]:
    """`data.<name>`, `rotation.<name>` and `evaluation.<name>` -> hash: of a local file's bytes, or of the used columns
    of a hub data set; `vectors.<name>` -> that of the file with a source's precomputed vectors.

    The hub's rows are hashed rather than its commit: offline, the commit that the cache serves may be another one.
    """
    sections: dict[str, Source | HeldOut] = {f"data.{source.name}": source for source in recipe.data}
    if recipe.rotation is not None:
        sections.update({f"rotation.{source.name}": source for source in recipe.rotation.data or ()})
    if recipe.evaluation is not None:
        sections.update({f"evaluation.{held_out.name}": held_out for held_out in recipe.evaluation.data})
    found = {name: _hash(section, recipe.folder, name) for name, section in sections.items()}
    for source in recipe.data:
        if source.vectors is not None:
            found[f"vectors.{source.name}"] = _of_file(path_of(source.vectors, recipe.folder), f"vectors.{source.name}")
    return found


def _hash(section: Source | HeldOut, folder: Path, name: str) -> str:
    if section.file is not None:
        return _of_file(path_of(section.file, folder), name)
    digest = hashlib.sha256()
    for _, row in open_hub(section, tuple(column_names(section).values()), name).rows:
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=True).encode() + b"\n")
    return f"rows sha256:{digest.hexdigest()}"


def _of_file(path: Path, name: str) -> str:
    try:
        return f"file sha256:{sha256_of(path)}"
    except OSError as error:
        raise DataError(f"{name}: {path} cannot be read ({error.strerror}); put it back") from error
