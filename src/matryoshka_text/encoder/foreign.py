"""Files of other people's models, read with bounds: JSON, and what safetensors files hold."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from matryoshka_text.encoder.schema import Foreign, faults_of_json
from matryoshka_text.errors import ModelError, shown

__all__ = ["WAY_OUT", "FileFault", "read_json", "require_allowed", "require_regular", "require_size", "stored_shapes"]

WAY_OUT = "mend the file, or give the folder of a whole model"
# A tokenizer of 250,000 words takes 17 MB, every other file a few KB.
_MOST_BYTES = 2**28
_READ = (".json", ".txt", ".model", ".safetensors")


class FileFault(ModelError):
    """What is wrong with a file, before it is known whose model it is."""


def read_json(file: Path, kind: type = dict) -> Any:
    """The JSON in `file`, a mapping or what `kind` says; `FileFault` if it is broken, huge, or something else."""
    try:
        require_size(file)
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileFault:
        raise
    except (OSError, ValueError, RecursionError) as error:
        what = "JSON nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise FileFault(f"{file}: found {what}; allowed: JSON; {WAY_OUT}") from error
    if not isinstance(found, kind):
        allowed = "a list" if kind is list else "a mapping"
        raise FileFault(f"{file}: found {shown(found)}; allowed: {allowed}; {WAY_OUT}")
    return found


def require_size(file: Path) -> None:
    """`FileFault` for a file too large to be a configuration or a vocabulary."""
    if (size := file.stat().st_size) > _MOST_BYTES:
        raise FileFault(f"{file}: found {size:,} bytes; allowed: at most {_MOST_BYTES:,}; {WAY_OUT}")


def require_allowed(place: Path | str, schema: type[Foreign], found: Any) -> None:
    """`FileFault` with the first faults of what was found at `place`, a file or a part of one."""
    if faults := list(faults_of_json(schema, found)):
        raise FileFault(f"{place}: {'; '.join(faults[:3])}; {WAY_OUT}")


def require_regular(path: Path) -> None:
    """`FileFault` for a folder, a pipe or a broken link in the place of a file: the libraries would wait for it."""
    for folder in [path, *(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))]:
        for entry in folder.iterdir():
            if entry.suffix in _READ and not entry.is_file():
                raise FileFault(f"{entry}: found a folder, a pipe or a broken link; allowed: a file; {WAY_OUT}")


def stored_shapes(folder: Path) -> dict[str, list[int]]:
    """The shape of each tensor in the safetensors files in `folder`, by name; `FileFault` for a damaged file."""
    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as opened:
                shapes |= {name: opened.get_slice(name).get_shape() for name in opened.keys()}
        except (OSError, SafetensorError) as error:
            raise FileFault(
                f"{file}: found damaged weights ({error}); allowed: a whole safetensors file; {WAY_OUT}"
            ) from error
    return shapes
