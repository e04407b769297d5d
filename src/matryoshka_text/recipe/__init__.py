"""Recipes: a frozen, strict declaration of everything that changes the model. Imports no torch."""

from matryoshka_text.recipe.load import Reading, load_recipe, read_recipe
from matryoshka_text.recipe.schema import Recipe
from matryoshka_text.recipe.sections import (
    Base,
    Batch,
    Checkpoints,
    Distill,
    Evaluation,
    InfoNCE,
    Lora,
    Objective,
    Optimizer,
    Stopping,
)
from matryoshka_text.recipe.sources import Columns, HeldOut, HeldOutColumns, Source

__all__ = [
    "Base",
    "Batch",
    "Checkpoints",
    "Columns",
    "Distill",
    "Evaluation",
    "HeldOut",
    "HeldOutColumns",
    "InfoNCE",
    "Lora",
    "Objective",
    "Optimizer",
    "Reading",
    "Recipe",
    "Source",
    "Stopping",
    "load_recipe",
    "read_recipe",
]
