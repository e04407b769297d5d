"""Objectives: what a run minimises, at every prefix. Imports no torch: a loss imports it when it is computed.

Each module of this package is one objective: its section of a recipe, what it reads, its loss. Being here is all it
takes. Another package adds objectives by naming them as entry points of the group `matryoshka_text.objectives`.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import get_args

from matryoshka_text.objectives.base import Objective, Stream, VectorObjective

__all__ = ["KINDS", "STREAMS", "Objective", "Stream", "VectorObjective"]

STREAMS: tuple[Stream, ...] = get_args(Stream)


def _found() -> dict[str, type[Objective]]:
    """Every objective by its kind, in the order of the streams."""
    for module in iter_modules(__path__):
        if module.name not in ("base", "batch"):
            import_module(f"{__name__}.{module.name}")
    for point in entry_points(group=__name__):
        point.load()
    kinds: dict[str, type[Objective]] = {}
    for objective in sorted(_below(Objective), key=lambda one: (STREAMS.index(one.reads), _kind(one))):
        other = kinds.setdefault(_kind(objective), objective)
        if other is not objective:
            raise ImportError(
                f"objective {_kind(objective)!r} is defined twice: {other!r} and {objective!r}; rename one"
            )
    return kinds


def _below(above: type[Objective]) -> Iterator[type[Objective]]:
    for objective in above.__subclasses__():
        if get_args(objective.model_fields["kind"].annotation):
            yield objective
        yield from _below(objective)


def _kind(objective: type[Objective]) -> str:
    return str(get_args(objective.model_fields["kind"].annotation)[0])


KINDS: Mapping[str, type[Objective]] = _found()
"""The objectives by kind."""
