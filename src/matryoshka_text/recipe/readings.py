"""Models that read a text in more ways than the objectives can."""

from collections.abc import Iterator, Mapping
from typing import Any

from matryoshka_text.objectives import KINDS
from matryoshka_text.section import Fault, Loc, items_of, value_of

__all__ = ["faults_of_readings", "faults_of_routes"]


def faults_of_routes(found: Mapping[str, Any], name: str) -> Iterator[Fault]:
    """Objectives on texts that are neither queries nor documents, with a base that has routes for these only."""
    for place, objective in enumerate(items_of(found, "objectives")):
        if (reads := getattr(KINDS.get(str(value_of(objective, "kind"))), "reads", None)) in ("labelled", "scored"):
            text = f"found {reads} texts, but {name} has a Router, with routes for queries and documents only; "
            yield ("objectives", place, "kind"), text + "allowed: objectives on pairs; use them, or another base"


def faults_of_readings(found: Mapping[str, Any], readings: Mapping[Loc, tuple[str, ...]]) -> Iterator[Fault]:
    """Models whose texts the objectives would read in another way than `encode` does: `readings` by their key."""
    for loc, settings in readings.items():
        if settings and items_of(found, "objectives"):
            yield (
                loc,
                f"found a model with {' and '.join(settings)} in its sentence_bert_config.json, which training cannot "
                "follow; allowed: processing_kwargs of text with max_length and truncation only; remove the others "
                "from the file, or take another model",
            )
