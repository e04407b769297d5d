"""Recipes: a frozen, strict declaration of everything that changes the model. Imports no torch."""

from matryoshka_text.recipe.load import Reading, load_recipe, read_recipe
from matryoshka_text.recipe.nesting import LayerPairs, RandomLayer
from matryoshka_text.recipe.objectives import (
    READS,
    Classify,
    CoSENT,
    Distill,
    InfoNCE,
    Mlm,
    Objective,
    ScoreDistill,
    SelfDistill,
)
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
    "READS",
    "Averaging",
    "Base",
    "Batch",
    "Checkpoints",
    "Classify",
    "CoSENT",
    "Columns",
    "Distill",
    "Evaluation",
    "HeldOut",
    "HeldOutColumns",
    "InfoNCE",
    "LayerPairs",
    "Lora",
    "Mlm",
    "Objective",
    "Optimizer",
    "RandomLayer",
    "Reading",
    "Recipe",
    "RotationSection",
    "ScoreDistill",
    "SelfDistill",
    "Source",
    "Stopping",
    "StreamShares",
    "Twin",
    "load_recipe",
    "read_recipe",
    "rotation_dims",
    "twins_of",
]
