"""Faults of a recipe that lie between its sections."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matryoshka_text.errors import shown
from matryoshka_text.objectives import KINDS, STREAMS
from matryoshka_text.recipe.nesting import faults_of_pairs
from matryoshka_text.recipe.rotation_only import faults_of_rotation
from matryoshka_text.recipe.sections import repeated_names
from matryoshka_text.recipe.sources import stream_of
from matryoshka_text.section import Fault, Loc, items_of, order_of, value_of

__all__ = ["faults_between"]

_KINDS = {
    "pairs": "pairs, triplets, nli or mined",
    "text": "text",
    "labelled": "labelled",
    "scored": "scored",
}


def faults_between(found: Mapping[str, Any]) -> Iterator[Fault]:
    """Every fault that concerns several sections; parts of `found` may be raw values of any type."""
    dims = found.get("dims")
    lengths = list(dims) if isinstance(dims, list | tuple) else None
    yield from order_of(("dims",), lengths)
    yield from faults_of_rotation(found)
    yield from _number_of_weights(lengths, found.get("weights"))
    objectives = items_of(found, "objectives")
    yield from repeated_names("data", items_of(found, "data"))
    yield from _repeated_kinds(objectives)
    yield from _two_batches(objectives)
    yield from _without_a_teacher(objectives)
    for key in ("twins", "trackers"):
        yield from _repeated(key, items_of(found, key))
    data = items_of(found, "data")
    if data and objectives:
        yield from _streams(data, objectives)
        yield from _shares(data, found.get("stream_shares"))
        yield from _held_out(objectives, found.get("evaluation"))
    yield from _prompts_of_plain_text(found)
    yield from _layers(found, lengths)
    yield from _patience(found)


def _number_of_weights(dims: Sequence[Any] | None, weights: Any) -> Iterator[Fault]:
    if dims is not None and isinstance(weights, list | tuple) and len(weights) != len(dims):
        yield (
            ("weights",),
            f"found {len(weights)} weights for {len(dims)} dims; allowed: one a dim, or uniform, low or learned; "
            f"write {len(dims)} numbers",
        )


def _repeated(key: str, words: list[Any]) -> Iterator[Fault]:
    """The fault of a word that stands in a list twice."""
    for index, word in enumerate(words):
        if isinstance(word, str) and word in words[:index]:
            yield (key, index), f"found {shown(word)} again; allowed: each once; remove one of the two"


def _repeated_kinds(objectives: list[Any]) -> Iterator[Fault]:
    seen: dict[Any, int] = {}
    for index, objective in enumerate(objectives):
        kind = value_of(objective, "kind")
        if not isinstance(kind, str):
            continue
        if kind in seen:
            yield (
                ("objectives", index, "kind"),
                f"found {kind!r} again (objectives[{seen[kind]}] has it); allowed: each kind once; "
                "merge the two and add up their weights",
            )
        seen.setdefault(kind, index)


def _two_batches(objectives: list[Any]) -> Iterator[Fault]:
    """Objectives that read the same batches and want them of different sizes."""
    seen: dict[str, tuple[int, Any]] = {}
    for index, kind in _kinds(objectives, _OWN_BATCH):
        size = value_of(objectives[index], "batch")
        if size is not None and type(size) is not int:
            continue
        other, before = seen.setdefault(KINDS[kind].reads, (index, size))
        if before != size:
            both = before if size is None else size
            yield (
                ("objectives", index, "batch"),
                f"found {shown(size)}, and objectives[{other}], which reads the same batches, has {shown(before)}; "
                f"allowed: one size for both; write `batch: {both}` in both, or leave it out in both",
            )


def _without_a_teacher(objectives: list[Any]) -> Iterator[Fault]:
    """The fault of `self_distill` where nothing else trains."""
    kinds = _kinds(objectives, KINDS)
    own = [index for index, kind in kinds if kind == "self_distill"]
    if not own or len(kinds) < len(objectives):
        return
    if len(own) == len(kinds):
        yield (
            ("objectives", own[0], "kind"),
            "found only self_distill, which moves no full width; allowed: together with another objective; "
            "add info_nce or distill",
        )


def _kinds(sections: list[Any], allowed: Any) -> list[tuple[int, str]]:
    """The place and kind of every section whose kind is known."""
    kinds = [(index, value_of(section, "kind")) for index, section in enumerate(sections)]
    return [(index, kind) for index, kind in kinds if isinstance(kind, str) and kind in allowed]


# Objectives with a batch of their own.
_OWN_BATCH = [kind for kind, objective in KINDS.items() if "batch" in objective.model_fields]
_SOURCE_KINDS = ("pairs", "triplets", "nli", "mined", "text", "labelled", "scored")


def _streams(data: list[Any], objectives: list[Any]) -> Iterator[Fault]:
    """Objectives without data, and data that no objective reads."""
    sources, wanted = _kinds(data, _SOURCE_KINDS), _kinds(objectives, KINDS)
    if len(sources) < len(data) or len(wanted) < len(objectives):
        return  # a kind that is wrong by itself would only bring faults that follow from it
    there = {stream_of(kind) for _, kind in sources}
    read = {KINDS[kind].reads for _, kind in wanted}
    for index, kind in wanted:
        if (stream := KINDS[kind].reads) not in there:
            yield (
                ("objectives", index, "kind"),
                f"found {kind} without data it can read; allowed: with a source of kind {_KINDS[stream]}; add one",
            )
    for index, kind in sources:
        if stream_of(kind) not in read:
            able = ", ".join(name for name, objective in KINDS.items() if objective.reads == stream_of(kind))
            yield (
                ("data", index, "kind"),
                f"found {kind}, which no objective reads; allowed: together with one of {able}; "
                "add one, or remove the source",
            )


def _shares(data: list[Any], shares: Any) -> Iterator[Fault]:
    if shares is None:
        return
    there = {stream_of(kind) for _, kind in _kinds(data, _SOURCE_KINDS)}
    given = {stream for stream in STREAMS if value_of(shares, stream) is not None}
    for stream in sorted(given - there):
        yield (
            ("stream_shares", stream),
            f"found a share without data; allowed: {', '.join(s for s in STREAMS if s in there)}; remove it",
        )
    for stream in sorted(there - given):
        yield (
            ("stream_shares",),
            f"found no share of {stream}, which has data; allowed: a share for each stream; write `{stream}: 0.5`",
        )


def _held_out(objectives: list[Any], evaluation: Any) -> Iterator[Fault]:
    """Held-out sets that need a head which nothing trains."""
    need = {"labelled": "classify", "text": "mlm"}
    trained = {kind for _, kind in _kinds(objectives, KINDS)}
    for index, kind in _kinds(items_of(evaluation, "data"), need):
        if need[kind] not in trained:
            yield (
                ("evaluation", "data", index, "kind"),
                f"found {kind} without the objective {need[kind]}; allowed: together with it; "
                "add it, or remove the set",
            )


def _prompts_of_plain_text(found: Mapping[str, Any]) -> Iterator[Fault]:
    """Prompts of texts that nothing makes a vector of: masked-language modelling reads them as they are."""
    rotation = found.get("rotation")
    turned = rotation is not None and not value_of(rotation, "data")
    read: list[tuple[Loc, list[Any]]] = [(("evaluation", "data"), items_of(found.get("evaluation"), "data"))]
    if not turned:
        read.append((("data",), items_of(found, "data")))
    for key, items in read:
        for index, _ in _kinds(items, ("text",)):
            name = value_of(value_of(items[index], "prompts"), "text")
            if name is not None:
                yield (
                    (*key, index, "prompts", "text"),
                    f"found {shown(name)} for kind 'text', which masked-language modelling reads as it is; allowed: "
                    "none; remove it",
                )


def _layers(found: Mapping[str, Any], lengths: list[Any] | None) -> Iterator[Fault]:
    """Layers that nothing trains, and pairs at dims that are not trained."""
    layers = found.get("layers")
    if layers is None:
        return
    wanted = _kinds(items_of(found, "objectives"), KINDS)
    if wanted and not any(KINDS[kind].layers for _, kind in wanted):
        *most, last = (kind for kind, objective in KINDS.items() if objective.layers)
        yield (
            ("layers",),
            f"found layers, but no objective that trains layers below the last; allowed: next to {', '.join(most)} or "
            f"{last}; add one, or remove layers",
        )
    if value_of(layers, "kind") != "pairs":
        return
    for index, kind in wanted:
        if kind == "self_distill":
            yield (
                ("objectives", index, "kind"),
                "found self_distill with layers of kind pairs, where the last layer is read at its full width only; "
                "allowed: with layers of kind random, or none; remove one of the two",
            )
    kinds = [kind for _, kind in wanted]
    for loc, text in faults_of_pairs(value_of(layers, "pairs"), lengths, kinds):
        # The kind comes before the keys, as in the places that pydantic gives; here the two have one name.
        yield ("layers", "pairs", *loc), text
    drawn = found.get("dims_per_step")
    if drawn in ("nested_dropout", "one_and_full"):
        yield (
            ("dims_per_step",),
            f"found {drawn} with layers of kind pairs; allowed: all, since the pairs say which dim each layer is "
            "read at; leave it out",
        )


def _patience(found: Mapping[str, Any]) -> Iterator[Fault]:
    if "evaluation" in found and found["evaluation"] is None:
        patience = value_of(found.get("stopping"), "patience")
        if patience is not None:
            yield (
                ("stopping", "patience"),
                f"found {patience} without evaluation; allowed: patience with an evaluation section; "
                "add one, or remove patience",
            )
