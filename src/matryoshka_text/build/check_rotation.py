"""What a recipe's rotation shows before it is run: its files, columns and texts, its dims, and the end of the base."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matryoshka_text.build.findings import Findings, items_of, valid
from matryoshka_text.data import SourceRows, require_enough_texts, rotation_texts
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import RotationSection, Source

__all__ = ["Read", "check_rotated_base", "check_rotation", "require_texts"]

# What reads a source, or finds out why it cannot be read.
Read = Callable[[Source, str], SourceRows | None]


def check_rotation(
    values: dict[str, Any], read: Read, own: Sequence[tuple[Source, SourceRows] | None], *, seed: int
) -> dict[str, int] | None:
    """How many different texts each of the rotation's sources has; None where that is not known.

    `own` are the recipe's own sources, None for each that could not be read; `read` records what is wrong with others.
    """
    section = valid(RotationSection, values.get("rotation")) if values.get("rotation") is not None else None
    if section is None:
        return None
    found = list(own)
    if section.data is not None:
        rows = [read(source, f"rotation.data[{index}]") for index, source in enumerate(section.data)]
        found = [(s, one) if one is not None else None for s, one in zip(section.data, rows, strict=True)]
    counts = {pair[0].name: len(rotation_texts(pair[1], section, seed)) for pair in found if pair is not None}
    return counts if found and None not in found else None


def require_texts(values: dict[str, Any], counts: dict[str, int] | None, width: int | None, findings: Findings) -> None:
    """Record sources that are too small, and too few texts in all where the base's `width` is known."""
    section = valid(RotationSection, values.get("rotation"))
    if section is None or counts is None:
        return
    try:
        require_enough_texts(section, counts, width or 0)
    except DataError as error:
        findings.of_data(error)


def check_rotated_base(name: str, path: Path, width: int | None, values: dict[str, Any], findings: Findings) -> None:
    """Problems of the rotation's dims beside the base's width, and of a base that ends in a Dense of another width."""
    if not isinstance(values.get("rotation"), dict) or width is None:
        return
    own = items_of(values["rotation"], "dims")
    for index, dim in enumerate(own):
        if isinstance(dim, int) and dim > width:
            findings.problem(
                ("rotation", "dims", index),
                f"found {dim}, and {name} gives vectors of width {width}; allowed: at most {width}; "
                "use smaller dims, or another base",
            )
    dims = own or items_of(values, "dims")
    if dims and all(isinstance(dim, int) and dim >= width for dim in dims):
        findings.problem(
            ("rotation", "dims") if own else ("dims",),
            f"found {dims}, but a rotation changes prefixes below the width only, which is {width} for {name}; "
            f"allowed: at least one dim below {width}; add smaller dims",
        )
    if (sizes := _last_dense(path)) is not None and sizes[0] != sizes[1]:
        findings.problem(
            ("base", "model"),
            f"found {name!r}, which ends in a Dense from {sizes[0]} to {sizes[1]} dims; allowed beside a rotation: a "
            "model without one, or with one that keeps the width; use the model that it was made from",
        )


def _last_dense(path: Path) -> tuple[int, int] | None:
    """In and out of the Dense that the saved model ends in, before its Normalize; None where there is none."""
    try:
        modules = json.loads((path / "modules.json").read_text(encoding="utf-8"))
        before = [one for one in modules if not one["type"].endswith(".Normalize")]
        if not before[-1]["type"].endswith(".Dense"):
            return None
        config = json.loads((path / before[-1]["path"] / "config.json").read_text(encoding="utf-8"))
        return int(config["in_features"]), int(config["out_features"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # no sentence-transformers model, or a damaged one: opening it will say so
