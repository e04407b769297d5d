"""The baselines of a recipe, on the same data and steps: every claim for nested vectors needs them."""

from collections.abc import Iterator, Sequence
from typing import Literal

from matryoshka_text.dims import log_dims
from matryoshka_text.objectives import STREAMS, Stream
from matryoshka_text.recipe.schema import Recipe
from matryoshka_text.recipe.sections import Stopping, StreamShares
from matryoshka_text.recipe.sources import stream_of

__all__ = ["Twin", "twins_of"]

Twin = Literal["ff", "plain"]


def twins_of(
    recipe: Recipe, *, width: int, full: int, steps: int, more: Sequence[Twin] = ()
) -> Iterator[tuple[str, Recipe]]:
    """(name, recipe) of each twin that the recipe or `more` asks for.

    `width` is the base's, `full` the longest prefix that the losses can read (a vocabulary matrix may be narrower), and
    `steps` how many the run took.

    "ff-12", …: fixed-feature models, trained at one dim only (FF in arXiv:2205.13147); "plain": trained at full width
    only, what fine-tuning without Matryoshka gives. Neither has layers, self_distill or what only that reads; data,
    steps, seed and all else are the same. The rotation is the run's own, learned for all its dims: a twin starts from
    the very base that the run's objectives started from.
    """
    asked = {*recipe.twins, *more}
    dims = log_dims(width) if recipe.dims == "log" else recipe.lengths
    if "plain" in asked:
        yield "plain", _at(recipe, "plain", full, steps=steps, dims=dims)
    if "ff" in asked:
        for dim in dims:
            yield f"ff-{dim}", _at(recipe, f"ff-{dim}", dim, steps=steps, dims=dims)


def _at(recipe: Recipe, twin: str, dim: int, *, steps: int, dims: tuple[int, ...]) -> Recipe:
    # Below full width it has nothing to teach to a single length, and at full width it is its own teacher.
    kept = (spec for spec in recipe.objectives if spec.kind != "self_distill")
    # A head for one dim is a matrix of that many columns, whichever kind it is of.
    single = {"head": "mrl"}
    objectives = tuple(spec.model_copy(update=single) if spec.kind == "classify" else spec for spec in kept)
    read = {spec.reads for spec in objectives}
    rotation = recipe.rotation
    if rotation is not None and rotation.dims is None:
        rotation = rotation.model_copy(update={"dims": dims})
    return recipe.model_copy(
        update={
            "rotation": rotation,
            "name": f"{recipe.name}-{twin}",
            "dims": (dim,),
            "weights": "uniform",
            "dims_per_step": "all",
            "layers": None,
            "twins": (),
            "objectives": objectives,
            "data": tuple(source for source in recipe.data if stream_of(source.kind) in read),
            "stream_shares": _shares(recipe, read),
            # As many as the run took: its epochs may have been those of a stream that is not read here.
            "stopping": Stopping(steps=steps),
        }
    )


def _shares(recipe: Recipe, read: set[Stream]) -> StreamShares | None:
    """The shares of the streams that are still read."""
    if recipe.stream_shares is None or len(read) < 2:
        return None
    return recipe.stream_shares.model_copy(update={stream: None for stream in STREAMS if stream not in read})
