"""What a recipe needs of its base, its teacher and its data: one list of faults for `mtext check` and `mtext train`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matryoshka_text.dims import log_dims
from matryoshka_text.objectives import KINDS, STREAMS, Stream
from matryoshka_text.recipe.facts import BaseFacts, Facts
from matryoshka_text.recipe.nesting import faults_of_pairs
from matryoshka_text.recipe.prompts import faults_of_names
from matryoshka_text.recipe.readings import faults_of_readings, faults_of_routes
from matryoshka_text.recipe.sections import Batch
from matryoshka_text.recipe.sources import TRAINING_ROLES, stream_of
from matryoshka_text.section import Fault, Loc, items_of, value_of

__all__ = ["batch_of", "requirements"]


def requirements(found: Mapping[str, Any], facts: Facts) -> Iterator[Fault]:
    """The place and wording of every fault of a recipe that only the `facts` show.

    `found` holds the recipe by key, as sections or as raw values. A raw value's own faults are left to the schema.
    """
    log, width = found.get("dims") == "log", facts.base.width
    dims = list(log_dims(width)) if log and width else items_of(found, "dims")
    name = str(value_of(found.get("base"), "model"))
    yield from _dims(found, name, facts.base)
    if log and dims:
        yield from _meant_by_log(found, name, dims)
    if facts.base.prompts is not None:
        yield from faults_of_names(found, name, facts.base.prompts)
    yield from _layers(found.get("layers"), name, facts.base.depth)
    for place, objective in _objectives(found, "mlm"):
        yield from _mlm(objective, ("objectives", place), name, facts.base)
        yield from _dims_of_mlm(objective, name, facts.base, dims, log=log)
    yield from faults_of_readings(found, facts.own_readings)
    yield from faults_of_routes(found, name) if facts.base.routes else ()
    yield from _rotation(found, name, facts.base)
    for place, wide in facts.teachers.items():
        yield from _teacher(found, place, dims, width=width, teacher=wide)
    yield from _vectors(found)
    yield from _texts(found, facts.texts)


def batch_of(found: Mapping[str, Any], stream: Stream) -> tuple[int, Loc]:
    """Rows of a global batch of `stream`, its objective's own or the recipe's, and the key that says so."""
    for place, objective in enumerate(items_of(found, "objectives")):
        known, size = KINDS.get(str(value_of(objective, "kind"))), value_of(objective, "batch")
        if known is not None and known.reads == stream and type(size) is int:
            return size, ("objectives", place, "batch")
    size = value_of(found.get("batch"), "size")
    size = Batch().size if size is None else size
    return size if type(size) is int else 0, ("batch", "size")


def _objectives(found: Mapping[str, Any], kind: str) -> Iterator[tuple[int, Any]]:
    for place, objective in enumerate(items_of(found, "objectives")):
        if value_of(objective, "kind") == kind:
            yield place, objective


def _dims(found: Mapping[str, Any], name: str, base: BaseFacts) -> Iterator[Fault]:
    """Dims above the width, `distill` without the full width to hold on to, and a pooling the base has already."""
    dims, width = items_of(found, "dims"), base.width
    if width is not None:
        yield from _above(dims, ("dims",), name, width)
        # A single dim makes a fixed-feature model: there is nothing to anchor.
        if len(dims) > 1 and isinstance(dims[-1], int) and dims[-1] < width and any(_objectives(found, "distill")):
            yield (
                ("dims", len(dims) - 1),
                f"found {dims[-1]}, but distill anchors full width, which is {width} for {name}; "
                f"allowed: dims that end in {width}; add it",
            )
    pooling = value_of(found.get("base"), "pooling")
    if pooling is not None and base.pooling:
        yield (
            ("base", "pooling"),
            f"found {pooling}, but {name} is a sentence-transformers model with its own pooling; "
            "allowed: null; leave it out",
        )


def _above(dims: Sequence[Any], key: Loc, name: str, width: int) -> Iterator[Fault]:
    for index, dim in enumerate(dims):
        if isinstance(dim, int) and dim > width:
            yield (
                (*key, index),
                f"found {dim}, and {name} gives vectors of width {width}; allowed: at most {width}; "
                "use smaller dims, or another base",
            )


def _meant_by_log(found: Mapping[str, Any], name: str, dims: list[int]) -> Iterator[Fault]:
    """Weights and pairs next to the word log, whose dims the schema does not know."""
    weights, layers = found.get("weights"), found.get("layers")
    if isinstance(weights, list | tuple) and len(weights) != len(dims):
        yield (
            ("weights",),
            f"found {len(weights)} weights for the {len(dims)} dims {', '.join(map(str, dims))}, which log means for "
            f"{name}; allowed: one a dim, or uniform, low or learned; write {len(dims)} numbers",
        )
    if value_of(layers, "kind") == "pairs":
        kinds = [value_of(objective, "kind") for objective in items_of(found, "objectives")]
        means = f", which log means for {name}"
        for loc, text in faults_of_pairs(value_of(layers, "pairs"), dims, kinds, means=means):
            yield ("layers", *loc), text


def _layers(layers: Any, name: str, depth: int | None) -> Iterator[Fault]:
    """Layers that the base does not have, or that do not end with its last."""
    if depth is None or layers is None:
        return
    lowest = value_of(layers, "lowest")
    lowest = 1 if lowest is None else lowest
    if value_of(layers, "kind") == "random" and isinstance(lowest, int) and lowest >= depth:
        yield (
            ("layers", "lowest"),
            f"found {lowest}, and {name} has {depth} layers; allowed: "
            + (f"1 to {depth - 1}, a layer below the last; use a lower one" if depth > 1 else "none; remove layers"),
        )
    pairs = items_of(layers, "pairs")
    if value_of(layers, "kind") != "pairs" or not pairs or not all(_two_numbers(pair) for pair in pairs):
        return
    for index, (layer, _) in enumerate(pairs):
        if layer > depth:
            yield (
                ("layers", "pairs", index),
                f"found layer {layer}, and {name} has {depth} layers; allowed: 1 to {depth}; "
                "use lower layers, or another base",
            )
    if pairs[-1][0] < depth:
        yield (
            ("layers", "pairs", len(pairs) - 1),
            f"found layer {pairs[-1][0]} in the last pair, and {name} has {depth} layers; "
            f"allowed: a last pair that is the full model; add [{depth}, the largest dim]",
        )


def _two_numbers(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(one, int) for one in pair)


def _mlm(objective: Any, key: Loc, name: str, base: BaseFacts) -> Iterator[Fault]:
    """Masked-language modelling with a base that cannot do it: no mask token, no tied decoder, too few tokens."""
    if base.masks is False:
        yield (
            (*key, "kind"),
            f"found mlm, and the tokenizer of {name} has no mask token; allowed: a base that was trained "
            "with one; use another base, or remove the objective",
        )
    if base.tied is False:
        yield (
            (*key, "kind"),
            f"found mlm, and the config.json of {name} has tie_word_embeddings false, a decoder of its own; "
            "allowed: a decoder that is the vocabulary matrix; set it to true, which drops the other decoder, "
            "or use another base",
        )
    if base.hidden and base.matrix and base.matrix < base.hidden and value_of(objective, "cut") == "hidden":
        yield (
            (*key, "cut"),
            f"found hidden, but the vocabulary matrix of {name} is {base.matrix} wide and its hidden states are "
            f"{base.hidden}; allowed: transform or nested, which bring them to {base.matrix}; use one of these",
        )
    length = value_of(objective, "max_length")
    if base.tokens is not None and isinstance(length, int) and length > base.tokens:
        yield (
            (*key, "max_length"),
            f"found {length}; allowed: at most {base.tokens}, the tokens that {name} can read; "
            f"write `max_length: {base.tokens}`",
        )
    if base.words is False and value_of(objective, "whole_words") is True:
        yield (
            (*key, "whole_words"),
            f"found true, but {name} has no fast tokenizer (tokenizer.json), and only such a one knows the words; "
            "allowed: false; leave it out, or use another base",
        )


def _dims_of_mlm(objective: Any, name: str, base: BaseFacts, dims: list[Any], *, log: bool) -> Iterator[Fault]:
    """Dims that the vocabulary matrix does not have, or that the nested transform cannot normalise."""
    matrix, width = base.matrix or base.hidden, base.width
    if width is not None and matrix:
        why = f"but mlm reads prefixes of the vocabulary matrix of {name}, which is {matrix} wide; allowed: "
        if log and dims[-1] > matrix:
            yield ("dims",), f"found log, which ends at {dims[-1]}, {why}at most {matrix}; write a list of dims"
        else:
            for index, dim in enumerate(dims):
                if isinstance(dim, int) and matrix < dim <= width:
                    yield ("dims", index), f"found {dim}, {why}at most {matrix}; use smaller dims, or another base"
    if value_of(objective, "cut") == "nested" and dims and dims[0] == 1:
        yield (
            ("dims", 0),
            "found 1, but mlm with cut nested normalises each prefix, and one number has no spread; "
            "allowed: at least 2; remove it, or use cut transform",
        )


def _rotation(found: Mapping[str, Any], name: str, base: BaseFacts) -> Iterator[Fault]:
    """The rotation's dims next to the base's width, and a base that ends in a Dense of another width."""
    section, width = found.get("rotation"), base.width
    if section is None or isinstance(section, list | str | int | float) or width is None:
        return
    own = items_of(section, "dims")
    yield from _above(own, ("rotation", "dims"), name, width)
    dims = own or items_of(found, "dims")
    if dims and all(isinstance(dim, int) and dim >= width for dim in dims):
        yield (
            ("rotation", "dims") if own else ("dims",),
            f"found {dims}, but a rotation changes prefixes below the width only, which is {width} for {name}; "
            f"allowed: at least one dim below {width}; add smaller dims",
        )
    if base.dense is not None and base.dense[0] != base.dense[1]:
        yield (
            ("base", "model"),
            f"found {name!r}, which ends in a Dense from {base.dense[0]} to {base.dense[1]} dims; allowed next to a "
            "rotation: a model without one, or with one that keeps the width; use the model that it was made from",
        )


def _teacher(
    found: Mapping[str, Any], place: int, dims: list[Any], *, width: int | None, teacher: int
) -> Iterator[Fault]:
    """Vectors that are compared with those of a teacher whose own are too short."""
    factor = value_of(items_of(found, "objectives")[place], "vector_weight")
    if width is None or not isinstance(factor, int | float) or factor <= 0:
        return
    needed = max((dim for dim in dims if isinstance(dim, int) and dim < width), default=0)
    if teacher < needed:
        yield (
            ("objectives", place, "vector_weight"),
            f"found {factor:g}, but the teacher's vectors are {teacher} long; allowed: a teacher of at least {needed}, "
            "the largest dim below full width; use another teacher, or leave it out",
        )


def _vectors(found: Mapping[str, Any]) -> Iterator[Fault]:
    """`distill` that takes vectors no source has, and vectors that nothing takes."""
    sources = items_of(found, "data")
    given = [place for place, source in enumerate(sources) if value_of(source, "vectors") is not None]
    taken = [place for place, objective in _objectives(found, "distill") if value_of(objective, "vectors") is True]
    pairs = [source for source in sources if stream_of(str(value_of(source, "kind"))) == "pairs"]
    if taken and pairs and not given:
        yield (
            ("objectives", taken[0], "vectors"),
            "found true, and no source has a teacher's vectors; allowed: true with a `vectors` file in every "
            "source of pairs; add them, or name a teacher",
        )
    if given and not taken and items_of(found, "objectives"):
        yield (
            ("data", given[0], "vectors"),
            "found a file of a teacher's vectors, which nothing reads; allowed: vectors next to the objective distill "
            "with `vectors: true`; write that, or remove it",
        )


def _texts(found: Mapping[str, Any], texts: Mapping[int, int]) -> Iterator[Fault]:
    """Mined sources with too few texts, and batches larger than their stream."""
    sources, objectives = items_of(found, "data"), items_of(found, "objectives")
    rows: dict[Stream, int] = {}
    for place, count in texts.items():
        neighbours = value_of(sources[place], "neighbours")
        if value_of(sources[place], "kind") == "mined":
            most = value_of(neighbours, "count") if neighbours is not None else None
            most = most if isinstance(most, int) else 1
            yield from _neighbours(place, most, count)
            count *= most
        stream = stream_of(str(value_of(sources[place], "kind")))
        rows[stream] = rows.get(stream, 0) + count
    # A source that could not be read would have more rows for its stream; one of an unknown kind, for any stream.
    kinds = [str(value_of(source, "kind")) for place, source in enumerate(sources) if place not in texts]
    unknown = {stream for kind in kinds for stream in ([stream_of(kind)] if kind in TRAINING_ROLES else STREAMS)}
    # How many sequences texts are packed into, the tokenizer decides.
    if any(value_of(objective, "packing") is not False for _, objective in _objectives(found, "mlm")):
        unknown.add("text")
    for stream, most in rows.items():
        size, loc = batch_of(found, stream)
        if objectives and stream not in unknown and size > most:
            what = "the data" if stream == "pairs" else f"the {stream} data"
            yield loc, f"found {size}; allowed: at most {most}, the rows of {what}; use a smaller batch"


def _neighbours(place: int, count: int, texts: int) -> Iterator[Fault]:
    """A mined source with fewer texts than each is to have neighbours."""
    if texts < 2:
        yield ("data", place), f"found {texts} text; allowed: at least 2 in a mined source; use more data"
    elif count >= texts:
        yield (
            ("data", place, "neighbours", "count"),
            f"found {count}; allowed: at most {texts - 1}, the other texts of the source; "
            "use fewer neighbours, or more data",
        )
