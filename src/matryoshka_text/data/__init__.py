"""Texts: where they come from, and which rows make which batch. `data.passes`, which needs torch, is not pulled in."""

from matryoshka_text.data.classes import class_names, require_known_classes
from matryoshka_text.data.columns import Example, TextColumn, table_of
from matryoshka_text.data.draw import different
from matryoshka_text.data.examples import Demands, Examples, Part, assembled, demands, read_sources, streams_of
from matryoshka_text.data.fingerprints import fingerprint
from matryoshka_text.data.held_out import HeldOutRows, read_held_out
from matryoshka_text.data.hub import Unreachable
from matryoshka_text.data.planner import BatchPlan, plan_batches, plan_rows
from matryoshka_text.data.sources import SourceRows, read_source
from matryoshka_text.data.texts import RotationTexts, read_rotation_texts, require_enough_texts, rotation_texts

__all__ = [
    "BatchPlan",
    "Demands",
    "Example",
    "Examples",
    "HeldOutRows",
    "Part",
    "RotationTexts",
    "SourceRows",
    "TextColumn",
    "Unreachable",
    "assembled",
    "class_names",
    "demands",
    "different",
    "fingerprint",
    "plan_batches",
    "plan_rows",
    "read_held_out",
    "read_rotation_texts",
    "read_source",
    "read_sources",
    "require_enough_texts",
    "require_known_classes",
    "rotation_texts",
    "streams_of",
    "table_of",
]
