"""What a key of a recipe may hold, in words: read off the schema, used by error messages and by recipes/README.md."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args
from typing import get_origin as _get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from matryoshka_text.section import Loc, Section

__all__ = ["Spot", "allowed", "branches", "locate", "may_be_empty", "sections_in"]

Type = Any  # a type annotation
# What pydantic puts into the place of a fault for a key that takes a preset or a list.
_TAGS = ("preset", "list")


@dataclass(frozen=True)
class Spot:
    """A place in the schema: its path as the user wrote it, its key and what may stand there."""

    path: Loc
    annotation: Type
    field: FieldInfo | None
    parent: Type
    whole: Type = None
    """Where the annotation is one branch of a key that takes a preset or a list: both."""


def locate(schema: type[Section], loc: Loc) -> Spot:
    """The place that pydantic's `loc` means; the tags that pydantic puts in for a kind of objective are taken out."""
    spot = Spot((), schema, None, None)
    for part in loc:
        spot = _step(spot, part)
    return spot


def allowed(annotation: Type, field: FieldInfo | None = None) -> str:
    """What may stand at a place of type `annotation`, in words."""
    if field is not None and isinstance(field.json_schema_extra, dict) and "allowed" in field.json_schema_extra:
        return str(field.json_schema_extra["allowed"]) + (" or null" if _nullable(annotation) else "")
    inner, metadata = _bare(annotation)
    options = [option for option in branches(inner) if option is not type(None)]
    metadata = [*metadata, *(field.metadata if field else [])]
    each = [_one(option, metadata) for option in options]
    words = (", or " if any(" or " in one for one in each[:-1]) else " or ").join(each)
    if not _nullable(annotation):
        return words
    return (words.replace(" or ", ", ") if origin(options[0]) is Literal else words) + " or null"


def branches(annotation: Type) -> list[Type]:
    """The members of a union, or the type itself."""
    inner, _ = _bare(annotation)
    if origin(inner) in (Union, UnionType):
        return [branch for option in get_args(inner) for branch in branches(option)]
    return [inner]


def sections_in(annotation: Type) -> Iterator[type[Section]]:
    """The sections that `annotation` names, in lists and unions too."""
    for option in branches(annotation):
        if isinstance(option, type) and issubclass(option, Section):
            yield option
        elif origin(option) is tuple:
            yield from sections_in(get_args(option)[0])


def may_be_empty(spot: Spot) -> bool:
    """Whether an empty text or list may stand at a place."""
    metadata = [*_bare(spot.annotation)[1], *(spot.field.metadata if spot.field else ())]
    return not any(getattr(bound, "min_length", None) for bound in metadata)


def origin(annotation: Type) -> Any:
    """What `annotation` is made of (tuple, Literal, Union, …), or None."""
    return _get_origin(annotation)


def _step(spot: Spot, part: int | str) -> Spot:
    options = branches(spot.annotation)
    sections = [option for option in options if isinstance(option, type) and issubclass(option, Section)]
    if part in _TAGS and any(origin(option) is Literal for option in options):
        wanted = Literal if part == "preset" else tuple
        # As it was written, with its Annotated: its bounds are there.
        written = get_args(_bare(spot.annotation)[0])
        branch = next(o for o in written if origin(_bare(o)[0]) is wanted)
        return Spot(spot.path, branch, spot.field, spot.parent, whole=spot.annotation)
    if len(sections) > 1:
        chosen = [s for s in sections if part in get_args(s.model_fields["kind"].annotation)]
        return (
            Spot(spot.path, chosen[0], spot.field, spot.parent) if chosen else Spot((*spot.path, part), Any, None, None)
        )
    if sections and part in sections[0].model_fields:
        field = sections[0].model_fields[str(part)]
        return Spot((*spot.path, part), field.annotation, field, sections[0])
    items = [get_args(option) for option in options if origin(option) is tuple]
    if items and isinstance(part, int):
        item = items[0][0] if items[0][-1] is Ellipsis else items[0][min(part, len(items[0]) - 1)]
        return Spot((*spot.path, part), item, None, spot.annotation)
    values = [get_args(option)[1] for option in options if origin(option) is dict]
    return Spot((*spot.path, part), values[0] if values else Any, None, sections[0] if sections else None)


def _bare(annotation: Type) -> tuple[Type, list[Any]]:
    """The type without its Annotated, and what was annotated."""
    metadata: list[Any] = []
    while origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        for item in more:
            metadata.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    return annotation, metadata


def _nullable(annotation: Type) -> bool:
    return type(None) in branches(annotation)


def _one(kind: Type, metadata: Iterable[Any]) -> str:
    if origin(kind) is Literal:
        *most, last = map(str, get_args(kind))
        return f"{', '.join(most)} or {last}" if most else last
    if origin(kind) is tuple:
        return _list(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Section):
        return f"a section with {', '.join(kind.model_fields)}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return " ".join([names.get(kind, "a value"), *_bounds(metadata)])


def _list(items: tuple[Type, ...]) -> str:
    if list(sections_in(items[0])):
        return "a list of sections"
    if items[-1] is not Ellipsis:
        return f"a list of {len(items)}: each {allowed(items[0])}"
    return f"a list, each item {allowed(items[0])}"


def _bounds(metadata: Iterable[Any]) -> Iterator[str]:
    words = []
    for bound in metadata:
        if isinstance(bound, Ge):
            words.append(f"of at least {bound.ge}")
        elif isinstance(bound, Gt):
            words.append(f"above {bound.gt}")
        elif isinstance(bound, Le):
            words.append(f"of at most {bound.le}")
        elif isinstance(bound, Lt):
            words.append(f"below {bound.lt}")
    if words:
        yield " and ".join(words)
