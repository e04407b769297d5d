"""The training data of a recipe, stream by stream."""

from collections.abc import Sequence

from matryoshka_text.data.examples import Demands, Examples, Part, assembled
from matryoshka_text.data.sources import SourceRows, read_source
from matryoshka_text.errors import DataError
from matryoshka_text.objectives import STREAMS
from matryoshka_text.recipe import Recipe
from matryoshka_text.recipe.sources import stream_of

__all__ = ["read_sources", "streams_of"]


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


def streams_of(recipe: Recipe, found: Sequence[SourceRows]) -> dict[str, Examples]:
    """The examples of each stream that has sources, streams in the order of `STREAMS`; `found` as `read_sources` gives.

    A mined source's single texts must have become pairs before. `DataError` with the faults of all streams: sources
    that do not fit each other, labels or scores that the objectives cannot use.
    """
    parts = [Part(i, source, rows) for i, (source, rows) in enumerate(zip(recipe.data, found, strict=True))]
    assert all(len(part.rows.texts[0]) == 2 for part in parts if part.source.kind == "mined")
    demands = _demands(recipe)
    streams: dict[str, Examples] = {}
    faults: list[str] = []
    for stream in STREAMS:
        own = [part for part in parts if stream_of(part.source.kind) == stream]
        try:
            if own:
                streams[stream] = assembled(own, demands)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return streams


def _demands(recipe: Recipe) -> Demands:
    classify, scores = recipe.objective("classify"), recipe.objective("score_distill")
    return Demands(
        classes=classify.classes if classify is not None else None,
        limits=scores.range if scores is not None else None,
        ranked=recipe.objective("cosent") is not None,
    )
