"""All training examples of one stream in one place."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Shaped

from matryoshka_text.data.classes import class_names
from matryoshka_text.data.columns import TextColumn, columns_in
from matryoshka_text.data.sources import SourceRows, read_source
from matryoshka_text.errors import DataError
from matryoshka_text.objectives import STREAMS, Objective, Stream
from matryoshka_text.reading import Faults
from matryoshka_text.recipe import Recipe, Source
from matryoshka_text.recipe.sources import prompt_names, stream_of

__all__ = ["Demands", "Examples", "Part", "assembled", "demands", "read_sources", "streams_of"]


@dataclass(frozen=True)
class Examples:
    """Examples to train on, column by column, all of the same length.

    The columns are anchor, positive, negative 1, … of pairs; the text of plain or labelled text; the two sentences of
    scored pairs. `source[i]` is the index in `names` of the source that row i came from, and `prompts` has the names of
    the prompts of its columns, as `prompt_names` gives them. `values` is the index in
    `classes` of each labelled row (int64), or the score of each scored one (float64). `vectors` are a teacher's, an
    array for each column of pairs.
    """

    columns: tuple[TextColumn, ...]
    numbers: Int[np.ndarray, " rows"]
    source: Int[np.ndarray, " rows"]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    prompts: tuple[tuple[str | None, ...], ...]
    values: Shaped[np.ndarray, " rows"] | None = None
    classes: tuple[str, ...] = ()
    vectors: tuple[Float[np.ndarray, "rows width"], ...] | None = None

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def negatives(self) -> int:
        """Hard negatives of each row of pairs."""
        return len(self.columns) - 2

    @property
    def seen_classes(self) -> tuple[str, ...]:
        """Those of the `classes` that at least one row has: where their number is declared, some may have none."""
        return tuple(self.classes[index] for index in np.unique(self.values)) if self.values is not None else ()

    def place(self, row: int) -> str:
        """Where row `row` came from: data/nli.jsonl.gz:17, or hub owner/name[config] train:17.

        A triplet made from labelled pairs names the row of its entailed pair, a mined pair that of its anchor.
        """
        return f"{self.labels[self.source[row]]}:{self.numbers[row]}"


@dataclass(frozen=True)
class Part:
    """What was found for one source: its index in the recipe's data, its section, and its rows."""

    index: int
    source: Source
    rows: SourceRows


@dataclass(frozen=True)
class Demands:
    """What the objectives ask of the values: a number of classes, scores within limits, scores that differ."""

    classes: int | None = None
    limits: tuple[float, float] | None = None
    ranked: bool = False


NO_DEMANDS = Demands()


def assembled(parts: Sequence[Part], asked: Demands = NO_DEMANDS) -> Examples:
    """The rows of the sources of one stream, one source after the other.

    `DataError` if the sources do not fit each other (numbers of hard negatives, teachers' vectors) or their values
    do not meet what is asked of them.
    """
    stream = stream_of(parts[0].source.kind)
    if stream == "pairs":
        _require_equal_negatives(parts)
    found = Examples(
        columns=columns_in(pa.concat_tables([part.rows.table for part in parts])),
        numbers=np.concatenate([part.rows.numbers for part in parts]),
        source=np.repeat(np.arange(len(parts), dtype=np.int16), [len(part.rows) for part in parts]),
        names=tuple(part.source.name for part in parts),
        labels=tuple(part.rows.label for part in parts),
        prompts=tuple(prompt_names(part.source, len(part.rows.columns)) for part in parts),
        vectors=_vectors(parts),
    )
    values = [value for part in parts for value in part.rows.values or ()]
    if stream == "labelled":
        names = class_names(list(map(str, values)), asked.classes, place=found.place)
        index = {name: number for number, name in enumerate(names)}
        numbers = np.asarray([index[str(value)] for value in values], dtype=np.int64)
        return replace(found, values=numbers, classes=names)
    if stream == "scored":
        found = replace(found, values=np.asarray(values, dtype=np.float64))
        _require_scores(found, asked)
    return found


def read_sources(recipe: Recipe) -> list[SourceRows]:
    """What every source of the recipe holds, in the recipe's order; `DataError` with the faults of all sources.

    A mined source gives its single texts, one column.
    """
    found: list[SourceRows] = []
    faults: list[str] = []
    for index, source in enumerate(recipe.data):
        try:
            found.append(read_source(source, recipe.folder, key=f"data[{index}]", seed=recipe.seed))
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return found


def streams_of(recipe: Recipe, found: Sequence[SourceRows]) -> dict[Stream, Examples]:
    """The examples of each stream that has sources, streams in the order of `STREAMS`; `found` as `read_sources` gives.

    A mined source's single texts must have become pairs before. `DataError` with the faults of all streams: sources
    that do not fit each other, labels or scores that the objectives cannot use.
    """
    parts = [Part(i, source, rows) for i, (source, rows) in enumerate(zip(recipe.data, found, strict=True))]
    assert all(len(part.rows.columns) == 2 for part in parts if part.source.kind == "mined")
    asked = demands(recipe.objectives)
    streams: dict[Stream, Examples] = {}
    faults: list[str] = []
    for stream in STREAMS:
        own = [part for part in parts if stream_of(part.source.kind) == stream]
        try:
            if own:
                streams[stream] = assembled(own, asked)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return streams


def demands(objectives: Iterable[Objective]) -> Demands:
    """What these objectives ask of labels and scores."""
    by_kind: dict[str, Any] = {objective.kind: objective for objective in objectives}
    classify, scores = by_kind.get("classify"), by_kind.get("score_distill")
    return Demands(
        classes=classify.classes if classify is not None else None,
        limits=scores.range if scores is not None else None,
        ranked="cosent" in by_kind,
    )


def _require_equal_negatives(parts: Sequence[Part]) -> None:
    first = parts[0]
    lines = [
        f"data[{part.index}]: {part.source.name!r} gives {part.rows.negatives} hard negatives a row, "
        f"data[{first.index}] ({first.source.name!r}) gives {first.rows.negatives}; allowed: the same number in every "
        "source; name the same number of negatives, or use kind pairs for all"
        for part in parts
        if part.rows.negatives != first.rows.negatives
    ]
    if lines:
        raise DataError("\n".join(lines))


def _vectors(parts: Sequence[Part]) -> tuple[Float[np.ndarray, "rows width"], ...] | None:
    """The teacher's vectors of all parts, column by column; None if no source has any."""
    given = [(part, part.rows.vectors) for part in parts if part.rows.vectors is not None]
    if not given:
        return None
    lines = [
        f"data[{part.index}]: {part.source.name!r} has no vectors, data[{given[0][0].index}] "
        f"({given[0][0].source.name!r}) has; allowed: vectors for every source of pairs, or for none; "
        "add them, or remove the others"
        for part in parts
        if part.rows.vectors is None
    ]
    width = given[0][1][0].shape[1]
    lines += [
        f"data[{part.index}].vectors: found vectors of width {vectors[0].shape[1]}, data[{given[0][0].index}] has "
        f"{width}; allowed: one width in all sources; use one teacher for all"
        for part, vectors in given
        if vectors[0].shape[1] != width
    ]
    if lines:
        raise DataError("\n".join(lines))
    return tuple(np.concatenate(columns) for columns in zip(*(vectors for _, vectors in given), strict=True))


def _require_scores(found: Examples, asked: Demands) -> None:
    scores = found.values
    assert scores is not None
    if asked.ranked and len(np.unique(scores)) < 2:
        raise DataError(
            f"{found.place(0)}, and all other scored rows: found the score {scores[0]:g}; allowed: at least two "
            "different scores (the objective cosent learns their order); use other data"
        )
    if asked.limits is None:
        return
    low, high = asked.limits
    faults = Faults()
    for row in np.flatnonzero((scores < low) | (scores > high)):
        faults.add(
            found.place(int(row)),
            f"found the score {scores[row]:g}; allowed: {low:g} to {high:g}, the range of the objective score_distill; "
            "correct the score, or change the range",
        )
    faults.raise_any()
