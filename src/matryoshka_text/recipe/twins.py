"""The baselines of a recipe, on the same data and steps: every claim for nested vectors needs them."""

from collections.abc import Iterator, Sequence
from typing import Literal

from matryoshka_text.errors import RecipeError
from matryoshka_text.recipe.schema import Recipe

__all__ = ["Twin", "require_teachable", "twins_of"]

Twin = Literal["ff", "plain"]


def twins_of(recipe: Recipe, *, width: int, more: Sequence[Twin] = ()) -> Iterator[tuple[str, Recipe]]:
    """(name, recipe) of each twin that the recipe or `more` asks for; `width` is the base's.

    "ff-12", …: fixed-feature models, trained at one dim alone (FF in arXiv:2205.13147); "plain": trained at full width
    alone, what fine-tuning without Matryoshka gives. Neither has layers; data, steps, seed and all else are the same.
    """
    asked = {*recipe.twins, *more}
    if asked:
        require_teachable(recipe)
    dims = recipe.widths(width).lengths
    if "plain" in asked:
        yield "plain", _at(recipe, "plain", width)
    if "ff" in asked:
        for dim in dims:
            yield f"ff-{dim}", _at(recipe, f"ff-{dim}", dim)


def require_teachable(recipe: Recipe) -> None:
    """`RecipeError` where a model of one dim would have no objective left."""
    if all(spec.kind == "self_distill" for spec in recipe.objectives):
        raise RecipeError(
            "twins: found self_distill alone, which has nothing to teach to a model of one dim; allowed: twins beside "
            "another objective; add one, or ask for no twins"
        )


def _at(recipe: Recipe, twin: str, dim: int) -> Recipe:
    # Below full width it has nothing to teach to a single length, and at full width it is its own teacher.
    kept = (spec for spec in recipe.objectives if spec.kind != "self_distill")
    # A head for one dim is a matrix of that many columns, whichever kind it is of.
    single = {"head": "mrl"}
    objectives = tuple(spec.model_copy(update=single) if spec.kind == "classify" else spec for spec in kept)
    return recipe.model_copy(
        update={
            "name": f"{recipe.name}-{twin}",
            "dims": (dim,),
            "weights": "uniform",
            "dims_per_step": "all",
            "layers": None,
            "twins": (),
            "objectives": objectives,
        }
    )
