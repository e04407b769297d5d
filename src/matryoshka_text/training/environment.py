"""What a run's bits depend on besides its recipe: recorded at the start, compared on resume."""

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict

from matryoshka_text.errors import RunError
from matryoshka_text.records import read_record
from matryoshka_text.versions import surroundings

__all__ = ["PACKAGES", "differences", "environment", "require_same_data", "stored_environment"]

_LAST_BITS = ("matryoshka_text", "commit", "python", "device", "cpu", "threads", "processes", "precision", "runtime")
PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "tokenizers",
    "accelerate",
    "peft",
    "datasets",
    "numpy",
    "safetensors",
)


class Stored(BaseModel):
    """environment.json as a run wrote it, an older version among them, which had fewer keys."""

    model_config = ConfigDict(strict=True, extra="allow")

    precision: Literal["float32", "bf16"]
    matryoshka_text: str | None = None
    commit: str | None = None
    python: str | None = None
    device: str | None = None
    cpu: str | None = None
    threads: int | None = None
    processes: int | None = None
    runtime: dict[str, Any] | None = None
    versions: dict[str, str | None] = {}
    data: dict[str, str] = {}
    model: dict[str, str | None] = {}


def stored_environment(path: Path) -> Stored:
    """What a run's environment.json says; `RunError` if it cannot be read."""
    return read_record(path, Stored, "mtext train", way_out="put it back, or start again with another --out")


def environment(
    *,
    device: torch.device,
    processes: int,
    precision: str,
    precision_reason: str,
    data: dict[str, str],
    model: dict[str, Any],
    heads: dict[str, dict[str, int]],
    runtime: dict[str, Any],
) -> dict[str, Any]:
    """Everything that is stored in environment.json."""
    return {
        **surroundings(device, PACKAGES),
        "processes": processes,
        "precision": precision,
        "precision_reason": precision_reason,
        "runtime": runtime,
        "data": data,
        "model": model,
        "heads": heads,
    }


def differences(stored: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed since the run began, of those things that decide the weights' last bits."""
    pairs = [(key, stored.get(key), now[key]) for key in _LAST_BITS]
    pairs += [(name, stored.get("versions", {}).get(name), now["versions"][name]) for name in PACKAGES]
    return [f"{name}: {old} then, {new} now" for name, old, new in pairs if old != new]


def require_same_data(stored: dict[str, Any], now: dict[str, Any], where: Path) -> None:
    """`RunError` if the data or the starting weights are not those the run began with."""
    for kind in ("data", "model"):
        changed = [
            name
            for name in sorted({*stored.get(kind, {}), *now[kind]})
            # Where the same bytes were found may change: a package today, the hub's cache tomorrow.
            if name not in ("name", "origin") and stored.get(kind, {}).get(name) != now[kind].get(name)
        ]
        if changed:
            raise RunError(
                f"{where}: the run began with other contents of {kind}: {', '.join(changed)}; "
                "put the old files back, or start again with another --out"
            )
