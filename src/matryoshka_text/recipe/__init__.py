"""Recipes: a frozen, strict declaration of everything that changes the model. Imports no torch."""

from matryoshka_text.recipe.load import Reading, load_recipe, read_recipe
from matryoshka_text.recipe.nesting import LayerPairs, RandomLayer
from matryoshka_text.recipe.rotation import RotationSection, rotation_dims
from matryoshka_text.recipe.schema import Recipe
from matryoshka_text.recipe.sections import (
    Averaging,
    Base,
    Batch,
    Checkpoints,
    Evaluation,
    Lora,
    Optimizer,
    Stopping,
    StreamShares,
)
from matryoshka_text.recipe.sources import Columns, HeldOut, HeldOutColumns, Source
from matryoshka_text.recipe.twins import Twin, twins_of

__all__ = [
    "Averaging",
    "Base",
    "Batch",
    "Checkpoints",
    "Columns",
    "Evaluation",
    "HeldOut",
    "HeldOutColumns",
    "LayerPairs",
    "Lora",
    "Optimizer",
    "RandomLayer",
    "Reading",
    "Recipe",
    "RotationSection",
    "Source",
    "Stopping",
    "StreamShares",
    "Twin",
    "load_recipe",
    "read_recipe",
    "rotation_dims",
    "twins_of",
]
