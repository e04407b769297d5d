"""Files of other people's models, read with bounds: JSON, and what safetensors files hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from matryoshka_text.encoder.schema import Foreign, faults_of_json
from matryoshka_text.errors import ModelError, shown

__all__ = [
    "WAY_OUT",
    "FileFault",
    "read_json",
    "require_allowed",
    "require_finite",
    "require_regular",
    "require_size",
    "stored_shapes",
]

WAY_OUT = "mend the file, or give the folder of a whole model"
# A tokenizer of 250,000 words takes 17 MB, every other file a few KB.
_MOST_BYTES = 2**28
# By the name in a safetensors file: the type that holds the bits, and those of the exponent, all set in NaN and inf.
_FLOATS = {
    "F64": ("<u8", 0x7FF << 52),
    "F32": ("<u4", 0xFF << 23),
    "F16": ("<u2", 0x1F << 10),
    "BF16": ("<u2", 0xFF << 7),
}
# Numbers looked at in one go.
_BLOCK = 2**22
_READ = (".json", ".txt", ".model", ".safetensors")


class FileFault(ModelError):
    """What is wrong with a file, before it is known whose model it is."""


def read_json(file: Path, kind: type = dict) -> Any:
    """The JSON in `file`, a mapping or what `kind` says; `FileFault` if it is broken, huge, or something else."""
    try:
        require_size(file)
        found = json.loads(file.read_text(encoding="utf-8"))
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


def require_finite(folder: Path) -> None:
    """`FileFault` for a NaN or infinite weight in the safetensors files in `folder`, which are whole.

    A pooler's does not count: no vector is made with it.
    """
    for file in sorted(folder.glob("*.safetensors")):
        content = np.memmap(file, np.uint8, mode="r")
        start = 8 + int.from_bytes(content[:8].tobytes(), "little")
        for name, entry in json.loads(content[8:start].tobytes()).items():
            if name == "__metadata__" or entry["dtype"] not in _FLOATS or "pooler" in name.split("."):
                continue
            kind, exponent = _FLOATS[entry["dtype"]]
            first, end = entry["data_offsets"]
            # An empty tensor may stand at the end, where nothing can be read.
            bits = np.frombuffer(content, kind, (end - first) // int(kind[-1]), start + first) if end > first else ()
            for place in range(0, len(bits), _BLOCK):
                block = np.asarray(bits[place : place + _BLOCK])
                if ((block & block.dtype.type(exponent)) == exponent).any():
                    raise FileFault(f"{file}: {name}: found NaN or infinite numbers; allowed: finite ones; {WAY_OUT}")
