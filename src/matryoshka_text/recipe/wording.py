"""One line per fault of a recipe: place, found, allowed, way out."""

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from matryoshka_text.errors import shown
from matryoshka_text.recipe.describe import Spot, allowed, branches, locate, may_be_empty
from matryoshka_text.section import OWN, Loc, Section
from matryoshka_text.yaml_lines import dotted

__all__ = ["as_yaml", "dotted", "faults_of", "loc_of"]


def faults_of(error: ValidationError, schema: type[Section]) -> Iterator[tuple[Loc, str]]:
    """Each fault of `error` as its path in the recipe and its wording."""
    # A file may have a fault in each of 100,000 lines, and finding the words takes time.
    for detail in error.errors(include_url=False)[:1000]:
        if detail["type"] == "too_short" and detail["input"]:
            continue  # pydantic counts the items that are right; those that are wrong have their own lines
        spot = locate(schema, detail["loc"])
        yield spot.path, _wording(detail, spot)


def loc_of(text: str) -> Loc:
    """The path that `dotted` wrote as `text`."""
    return tuple(int(part[1:-1]) if part[0] == "[" else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", text))


def as_yaml(value: Any) -> str:
    """`value` as it is written in a recipe, on one line."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)


def _wording(detail: ErrorDetails, spot: Spot) -> str:
    kind = detail["type"]
    if kind == OWN:
        return str(detail["ctx"]["text"])
    if kind == "extra_forbidden":
        return _unknown_key(str(spot.path[-1]), spot)
    if kind == "missing":
        return f"found nothing; allowed: {allowed(spot.annotation, spot.field)}; {_example(spot)}"
    if kind.startswith("union_tag"):
        return _unknown_kind(detail["input"], spot)
    # A list that is too short is a list: the presets are no part of that fault.
    words = _allowed_at(spot) if spot.whole is None or kind == "too_short" else allowed(spot.whole, spot.field)
    return f"found {shown(detail['input'])}; allowed: {words}; {_way_out(spot)}"


def _unknown_key(key: str, spot: Spot) -> str:
    keys = list(spot.parent.model_fields) if spot.parent is not None else []
    close = get_close_matches(key.lower(), keys, n=1, cutoff=0.6)
    way_out = f"did you mean {close[0]!r}?" if close else "remove it"
    return f"found an unknown key; allowed: {', '.join(keys)}; {way_out}"


def _unknown_kind(found: Any, spot: Spot) -> str:
    options = branches(spot.annotation)
    kinds = [str(kind) for option in options if option is not type(None) for kind in _kinds(option)]
    has = shown(found["kind"]) if isinstance(found, dict) and "kind" in found else "no kind"
    listed = f"{', '.join(kinds[:-1])} or {kinds[-1]}{', or null' if type(None) in options else ''}"
    return f"found {has}; allowed: kind {listed}; write `kind: {kinds[0]}`"


def _kinds(section: Any) -> tuple[Any, ...]:
    return tuple(getattr(section.model_fields["kind"].annotation, "__args__", ()))


def _allowed_at(spot: Spot) -> str:
    words = allowed(spot.annotation, spot.field)
    return words if may_be_empty(spot) else f"{words} (not empty)"


def _way_out(spot: Spot) -> str:
    if spot.field is None:
        return "change it, or remove it"
    extra = spot.field.json_schema_extra
    # A key whose default is said in words, and that has an example, is required in some recipes.
    if spot.field.is_required() or (isinstance(extra, dict) and {"default", "example"} <= set(extra)):
        return _example(spot)
    if isinstance(extra, dict) and "default" in extra:
        return f"leave it out for the default, {extra['default']}"
    default = spot.field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, Section):
        return "leave the section out for its defaults"
    return f"leave it out for the default, {as_yaml(default)}"


def _example(spot: Spot) -> str:
    if isinstance(spot.path[-1], int):
        return "add the item"
    extra = spot.field.json_schema_extra if spot.field is not None else None
    if isinstance(extra, dict) and "example" in extra:
        return f"write, for example, `{spot.path[-1]}: {as_yaml(extra['example'])}`"
    return f"write `{spot.path[-1]}:` with one of these"
