"""Whether a checkpoint has all the weights its model needs."""

import logging
from pathlib import Path

from safetensors import safe_open
from torch import nn

__all__ = ["missing_weights", "warn_of_missing"]

log = logging.getLogger(__name__)

# Old checkpoints' names for a norm's two vectors.
_OLD_NAMES = {"gamma": "weight", "beta": "bias"}


def missing_weights(path: Path, backbone: nn.Module) -> list[str]:
    """Parameters of `backbone` that the safetensors files in `path` lack, the pooler's aside; [] where that is unknown.

    Names are compared by their ends, since a checkpoint may put its model's name in front. Where fewer than half are
    found the family renames its weights on loading, and nothing can be said.
    """
    stored = {_modern(name) for file in path.glob("*.safetensors") for name in _names(file)}
    ends = {".".join(parts[start:]) for parts in (n.split(".") for n in stored) for start in range(len(parts))}
    wanted = [name for name, _ in backbone.named_parameters() if not name.startswith("pooler.")]
    missing = [name for name in wanted if name not in ends]
    return missing if len(missing) < len(wanted) / 2 else []


def warn_of_missing(path: Path, name: str, backbone: nn.Module) -> None:
    """Log which weights model `name` in `path` lacks: they were drawn at random, and the vectors mean little."""
    if missing := missing_weights(path, backbone):
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        log.warning(
            "%s: the checkpoint lacks %d weights, which start at random: %s",
            name,
            len(missing),
            shown,
        )


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _modern(name: str) -> str:
    head, _, last = name.rpartition(".")
    return f"{head}.{_OLD_NAMES.get(last, last)}"
