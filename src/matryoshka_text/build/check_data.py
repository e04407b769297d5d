"""What a recipe's data show before it is run: files, columns and rows, classes and scores, batches."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from matryoshka_text.build.check_rotation import check_rotation
from matryoshka_text.build.findings import Findings, items_of, valid
from matryoshka_text.data import (
    Demands,
    Examples,
    HeldOutRows,
    Part,
    SourceRows,
    Unreachable,
    assembled,
    plan_batches,
    read_held_out,
    read_source,
    require_known_classes,
)
from matryoshka_text.errors import DataError
from matryoshka_text.objectives import KINDS, STREAMS
from matryoshka_text.objectives.classify import MOST_CLASSES
from matryoshka_text.objectives.score_distill import ScoreDistill
from matryoshka_text.recipe import Batch, HeldOut, Source
from matryoshka_text.recipe.sources import stream_of
from matryoshka_text.recipe.wording import dotted, loc_of
from matryoshka_text.section import Loc, value_of

__all__ = ["check_data"]

R = TypeVar("R")


def check_data(values: dict[str, Any], findings: Findings) -> dict[str, int] | None:
    """Record what is wrong with the training data, the rotation's and the held-out data.

    What comes back is how many texts each source of a rotation has; None where that is not known.
    """
    given = values.get("seed", 0)
    seed = given if type(given) is int and 0 <= given < 2**32 else 0
    sources = [valid(Source, item) for item in items_of(values, "data")]
    parts: list[Part] = []
    for index, source in enumerate(sources):
        key = f"data[{index}]"

        def read(source: Source | None = source, key: str = key) -> SourceRows | None:
            return read_source(source, findings.reading.folder, key=key, seed=seed) if source else None

        rows = _looked_into(source, key, read, findings)
        if source is not None and rows is not None:
            parts.append(Part(index, source, rows))
            _check_neighbours(index, source, len(rows.texts), findings)
    counts = _check_rotation(values, sources, parts, seed, findings)
    if values.get("rotation") is not None and not values.get("objectives"):
        return counts
    _check_vectors(values, sources, findings)
    there = {part.index for part in parts}
    lost = {stream_of(source.kind) if source else None for i, source in enumerate(sources) if i not in there}
    classes: tuple[str, ...] = ()
    for stream in STREAMS:
        own = [part for part in parts if stream_of(part.source.kind) == stream]
        # A source that cannot be read, or whose kind is not known, would have more rows for its stream.
        if own and not lost & {stream, None}:
            found = _stream(stream, own, values, seed, findings)
            classes = found.seen_classes if found is not None and stream == "labelled" else classes
    _check_held_out(values, classes, findings)
    return counts


def _check_rotation(
    values: dict[str, Any], sources: Sequence[Source | None], parts: Sequence[Part], seed: int, findings: Findings
) -> dict[str, int] | None:
    def read(source: Source, key: str) -> SourceRows | None:
        return _looked_into(
            source, key, lambda: read_source(source, findings.reading.folder, key=key, seed=seed), findings
        )

    by_place = {part.index: (part.source, part.rows) for part in parts}
    return check_rotation(values, read, [by_place.get(place) for place in range(len(sources))], seed=seed)


def _stream(stream: str, parts: list[Part], values: dict[str, Any], seed: int, findings: Findings) -> Examples | None:
    """The examples of a stream whose sources are all known, looked into; None where they do not fit together."""
    mined = any(part.source.kind == "mined" for part in parts)
    try:
        # Which pairs a mined source gives takes a model; that it gives pairs is known.
        found = assembled([_as_pair(part) if part.source.kind == "mined" else part for part in parts], _demands(values))
    except DataError as error:
        findings.of_data(error)
        return None
    batch = valid(Batch, values.get("batch", {}))
    packed = stream == "text" and any(value_of(spec, "packing") is not False for spec in _objectives(values, "mlm"))
    if batch is None or packed:
        return found
    size, loc = _batch_of(stream, batch, values)
    most = sum(len(part.rows.texts) * (part.source.neighbours.count if part.source.neighbours else 1) for part in parts)
    if size > most:
        what = "the data" if stream == "pairs" else f"the {stream} data"
        findings.problem(loc, f"found {size}; allowed: at most {most}, the rows of {what}; use a smaller batch")
    elif not mined:
        _check_plan(found, stream, batch, size, loc, seed, findings)
    return found


def _check_neighbours(index: int, source: Source, texts: int, findings: Findings) -> None:
    """A problem where a mined source has fewer texts than each is to have neighbours."""
    if source.neighbours is None or source.neighbours.count < texts:
        return
    if texts < 2:
        findings.problem(("data", index), f"found {texts} text; allowed: at least 2 in a mined source; use more data")
        return
    findings.problem(
        ("data", index, "neighbours", "count"),
        f"found {source.neighbours.count}; allowed: at most {texts - 1}, the other texts of the source; "
        "use fewer neighbours, or more data",
    )


def _check_plan(found: Examples, stream: str, batch: Batch, size: int, loc: Loc, seed: int, findings: Findings) -> None:
    groups = found.source if batch.mixing == "by_source" and stream != "text" else None
    try:
        plan_batches(
            found.columns,
            size=size,
            seed=seed,
            epoch=0,
            bucket=batch.bucket,
            groups=groups,
            distinct=stream == "pairs",
            key=dotted(loc),
        )
    except DataError as error:
        findings.problem(loc, str(error))


def _as_pair(part: Part) -> Part:
    text = part.rows.texts[0][0]
    return replace(part, rows=replace(part.rows, texts=[(text, text)], numbers=part.rows.numbers[:1]))


def _objectives(values: dict[str, Any], kind: str) -> list[Any]:
    return [spec for spec in items_of(values, "objectives") if value_of(spec, "kind") == kind]


def _demands(values: dict[str, Any]) -> Demands:
    """What the objectives ask of labels and scores, as far as their sections say it."""
    classes = next((value_of(spec, "classes") for spec in _objectives(values, "classify")), None)
    # A section that is wrong by itself demands nothing: what follows from it is no fault of the data.
    scores = next((valid(ScoreDistill, spec) for spec in _objectives(values, "score_distill")), None)
    return Demands(
        classes=classes if type(classes) is int and 2 <= classes <= MOST_CLASSES else None,
        limits=scores.range if scores is not None else None,
        ranked=bool(_objectives(values, "cosent")),
    )


def _batch_of(stream: str, batch: Batch, values: dict[str, Any]) -> tuple[int, Loc]:
    """Rows of a batch of `stream`, and the key that says so: that of an objective, or `batch.size`."""
    own: list[tuple[int, Loc]] = [
        (size, ("objectives", index, "batch"))
        for index, spec in enumerate(items_of(values, "objectives"))
        if getattr(KINDS.get(str(value_of(spec, "kind"))), "reads", None) == stream
        and isinstance(size := value_of(spec, "batch"), int)
    ]
    return max(own, default=(batch.size, ("batch", "size")), key=lambda one: one[0])


def _check_vectors(values: dict[str, Any], sources: Sequence[Source | None], findings: Findings) -> None:
    """A problem where `distill` takes vectors that no source has; that only some have them, the data tell."""
    pairs = [source for source in sources if source is not None and stream_of(source.kind) == "pairs"]
    for index, spec in enumerate(items_of(values, "objectives")):
        asked = value_of(spec, "kind") == "distill" and value_of(spec, "vectors") is True
        if asked and None not in sources and pairs and all(source.vectors is None for source in pairs):
            findings.problem(
                ("objectives", index, "vectors"),
                "found true, and no source has a teacher's vectors; allowed: true with a `vectors` file in every "
                "source of pairs; add them, or name a teacher",
            )


def _check_held_out(values: dict[str, Any], classes: Sequence[str], findings: Findings) -> None:
    for index, item in enumerate(items_of(values.get("evaluation"), "data")):
        held_out = valid(HeldOut, item)
        key = f"evaluation.data[{index}]"

        def read(held_out: HeldOut | None = held_out, key: str = key) -> HeldOutRows | None:
            return read_held_out(held_out, findings.reading.folder, key=key) if held_out else None

        found = _looked_into(held_out, key, read, findings)
        if found is not None and found.labels is not None and classes:
            try:
                require_known_classes(found, classes)
            except DataError as error:
                findings.of_data(error)


def _looked_into(section: Source | HeldOut | None, key: str, read: Callable[[], R], findings: Findings) -> R | None:
    """What `read` gives; None where the section is wrong, its rows are wrong, or it lies on the hub."""
    if section is None:
        return None
    if section.hub is not None and not os.environ.get("HF_HUB_OFFLINE"):
        findings.note(
            loc_of(key), f"{section.hub} is not looked at, nothing is fetched; HF_HUB_OFFLINE=1 reads a cached copy"
        )
        return None
    try:
        return read()
    except Unreachable:
        findings.note(loc_of(key), f"{section.hub} is not in the datasets cache, so its rows are not looked at")
    except DataError as error:
        findings.of_data(error)
    return None
