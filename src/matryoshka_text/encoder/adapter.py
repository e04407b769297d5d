"""A saved adapter of peft next to the base that it changes: whether the two fit, and the folder to open them from.

Needs no torch: `mtext check` asks here. `lora` merges them.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matryoshka_text.encoder.agreement import require_tokens
from matryoshka_text.encoder.foreign import WAY_OUT, FileFault, read_json, stored_shapes
from matryoshka_text.encoder.resolve import ADAPTER

__all__ = ["both_in_one", "require_adapter"]

_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
# The axis of a low-rank matrix that is not its rank, and the axis of the base's weight that is as long.
_SIDES = {
    ".lora_A.weight": (1, 1),
    ".lora_B.weight": (0, 0),
    ".lora_embedding_A": (1, 0),
    ".lora_embedding_B": (0, 1),
}
_OF_A_FOLDER = ("modules.json", "config_sentence_transformers.json", "sentence_*_config.json")


def require_adapter(path: Path, config: Mapping[str, Any], base: Mapping[str, list[int]]) -> None:
    """`FileFault` if the adapter in `path` is pickled, or cannot be of this base.

    `config` is the base's config.json, `base` the shapes of its weights by name. Names are compared without the model's
    own name in front, which one of the two may have.
    """
    file = path / _WEIGHTS
    if not file.is_file():
        has = "a pickle, adapter_model.bin" if (path / "adapter_model.bin").exists() else f"no {_WEIGHTS}"
        raise FileFault(
            f"{path}: found an adapter and {has}; allowed: {_WEIGHTS}, since opening a pickle can run code; save it "
            "again in Python: model.save_pretrained('FOLDER', safe_serialization=True)"
        )
    require_tokens(path, config)
    wanted = {short: shape for name, shape in base.items() for short in (name, _inner(name))}
    found = {name.removeprefix(_PREFIX): shape for name, shape in stored_shapes(path).items()}
    if "auto_map" not in config and not any(_names_a_layer(name, wanted) for name in found):
        raise FileFault(
            f"{file}: found the weights {', '.join(list(found)[:3]) or '(none)'}; allowed: those of an adapter for "
            f"layers of its base, a {config['model_type']}; name its own base in {ADAPTER} (base_model_name_or_path)"
        )
    told = {name: mine for name in found if (mine := wanted.get(_weight(name)) or wanted.get(_weight(_inner(name))))}
    settings = read_json(path / ADAPTER)
    ranks = {settings.get("r"), *(settings.get("rank_pattern") or {}).values()}
    for name, whole in told.items():
        side = next((side for end, side in _SIDES.items() if name.endswith(end)), None)
        shape = found[name]
        fits = shape == whole if side is None else len(shape) == 2 and shape[side[0]] == whole[side[1]]
        if not fits:
            raise FileFault(
                f"{file}: {name}: found the shape {shape}, but the weight of its base has {whole}; allowed: an adapter "
                f"of this base; name its own base in {ADAPTER} (base_model_name_or_path)"
            )
        if side is not None and settings["peft_type"] == "LORA" and shape[1 - side[0]] not in ranks:
            rank = settings.get("r")
            raise FileFault(f"{file}: {name}: found the shape {shape}, but {ADAPTER} has r {rank}; {WAY_OUT}")


def _names_a_layer(name: str, wanted: Mapping[str, list[int]]) -> bool:
    """Whether the adapter's weight `name` stands at or below a layer that has a weight among the `wanted` ones."""
    parts = name.split(".")
    ways = (".".join(parts[start:end]) for start in (0, 1) for end in range(start + 1, len(parts) + 1))
    return any(way in wanted or f"{way}.weight" in wanted for way in ways)


def _weight(name: str) -> str:
    """The weight of the base that the adapter's weight `name` changes, or takes the place of."""
    end = next((end for end in _SIDES if name.endswith(end)), None)
    return name if end is None else f"{name.removesuffix(end)}.weight"


def _inner(name: str) -> str:
    return name.partition(".")[2]


@contextmanager
def both_in_one(path: Path, home: Path) -> Iterator[Path]:
    """A folder of links, gone at the end: modules and tokenizer of the adapter in `path`, and the model in `home`."""
    with tempfile.TemporaryDirectory(prefix="mtext-adapter-") as made:
        folder = Path(made)
        own = [one for one in path.iterdir() if one.name != "config.json" and not one.match("adapter_*")]
        below = [one for one in home.iterdir() if one.is_file() and not any(map(one.match, _OF_A_FOLDER))]
        for one in {entry.name: entry for entry in (*below, *own)}.values():
            (folder / one.name).symlink_to(one.resolve())
        yield folder
