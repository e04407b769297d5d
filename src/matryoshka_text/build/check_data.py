"""What a recipe's data show before it is run: files, columns and rows, classes and scores, batches."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from matryoshka_text.build.findings import Findings, valid, valid_objective
from matryoshka_text.data import (
    Example,
    Examples,
    HeldOutRows,
    Part,
    SourceRows,
    Unreachable,
    assembled,
    demands,
    plan_batches,
    read_held_out,
    read_source,
    require_enough_texts,
    require_known_classes,
    rotation_texts,
    table_of,
)
from matryoshka_text.errors import DataError
from matryoshka_text.objectives import STREAMS, Stream
from matryoshka_text.recipe import Batch, HeldOut, RotationSection, Source
from matryoshka_text.recipe.requirements import batch_of
from matryoshka_text.recipe.sources import stream_of
from matryoshka_text.recipe.wording import dotted, loc_of
from matryoshka_text.section import items_of

__all__ = ["check_data", "check_rotation_texts"]

R = TypeVar("R")


def check_data(findings: Findings) -> tuple[dict[int, SourceRows], dict[str, int] | None]:
    """Record what is wrong with the training data, the rotation's and the held-out data.

    What comes back: the rows of each source that could be read, by its place, and how many different texts each source
    of a rotation has, by name (None if that is not known).
    """
    values = findings.values
    sources = [valid(Source, item) for item in items_of(values, "data")]
    parts: list[Part] = []
    for place, source in enumerate(sources):
        rows = _read(source, f"data[{place}]", findings)
        if source is not None and rows is not None:
            parts.append(Part(place, source, rows))
    known = {part.index: part.rows for part in parts}
    counts = _rotation_counts(sources, parts, findings)
    if values.get("rotation") is not None and not values.get("objectives"):
        return known, counts
    lost = {stream_of(source.kind) if source else None for i, source in enumerate(sources) if i not in known}
    classes: tuple[str, ...] = ()
    for stream in STREAMS:
        own = [part for part in parts if stream_of(part.source.kind) == stream]
        # A source that cannot be read, or whose kind is not known, would have more rows for its stream.
        if own and not lost & {stream, None}:
            found = _stream(stream, own, findings)
            classes = found.seen_classes if found is not None and stream == "labelled" else classes
    _check_held_out(classes, findings)
    return known, counts


def check_rotation_texts(counts: dict[str, int] | None, width: int | None, findings: Findings) -> None:
    """Record sources of a rotation that are too small, and too few texts in all if the base's `width` is known."""
    section = valid(RotationSection, findings.values.get("rotation"))
    if section is None or counts is None:
        return
    try:
        require_enough_texts(section, counts, width or 0)
    except DataError as error:
        findings.of_data(error)


def _rotation_counts(
    sources: Sequence[Source | None], parts: Sequence[Part], findings: Findings
) -> dict[str, int] | None:
    """How many different texts each of the rotation's sources has; None if that is not known."""
    section = valid(RotationSection, findings.values.get("rotation"))
    if section is None:
        return None
    by_place = {part.index: (part.source, part.rows) for part in parts}
    found = [by_place.get(place) for place in range(len(sources))]
    if section.data is not None:
        rows = [_read(source, f"rotation.data[{i}]", findings) for i, source in enumerate(section.data)]
        found = [(s, one) if one is not None else None for s, one in zip(section.data, rows, strict=True)]
    counts = {pair[0].name: len(rotation_texts(*pair, section, findings.seed)) for pair in found if pair is not None}
    return counts if found and None not in found else None


def _read(source: Source | None, key: str, findings: Findings) -> SourceRows | None:
    """The rows of a source; None if the section is wrong, its rows are wrong, or it lies on the hub."""

    def read() -> SourceRows | None:
        return read_source(source, findings.reading.folder, key=key, seed=findings.seed) if source else None

    return _looked_into(source, key, read, findings)


def _stream(stream: Stream, parts: list[Part], findings: Findings) -> Examples | None:
    """The examples of a stream whose sources are all known, looked into; None if they do not fit together."""
    mined = any(part.source.kind == "mined" for part in parts)
    objectives = [one for item in items_of(findings.values, "objectives") if (one := valid_objective(item)) is not None]
    try:
        # Which pairs a mined source gives takes a model; that it gives pairs is known.
        pairs = [_as_pair(part) if part.source.kind == "mined" else part for part in parts]
        found = assembled(pairs, demands(objectives))
    except DataError as error:
        findings.of_data(error)
        return None
    batch = valid(Batch, findings.values.get("batch", {}))
    packed = stream == "text" and any(getattr(spec, "packing", False) for spec in objectives)
    size, _ = batch_of(findings.values, stream)
    # A batch above the rows there are is a fault of the requirements.
    if batch is not None and not packed and not mined and size <= len(found):
        _check_plan(found, stream, batch, findings)
    return found


def _check_plan(found: Examples, stream: Stream, batch: Batch, findings: Findings) -> None:
    size, loc = batch_of(findings.values, stream)
    groups = found.source if batch.mixing == "by_source" and stream != "text" else None
    try:
        plan_batches(
            found.columns,
            size=size,
            seed=findings.seed,
            epoch=0,
            bucket=batch.bucket,
            groups=groups,
            distinct=stream == "pairs",
            key=dotted(loc),
        )
    except DataError as error:
        findings.problem(loc, str(error))


def _as_pair(part: Part) -> Part:
    text = part.rows.columns[0][0]
    return replace(part, rows=replace(part.rows, table=table_of([Example(int(part.rows.numbers[0]), (text, text))])))


def _check_held_out(classes: Sequence[str], findings: Findings) -> None:
    for index, item in enumerate(items_of(findings.values.get("evaluation"), "data")):
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
    """What `read` gives; None if the section is wrong, its rows are wrong, or it lies on the hub."""
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
