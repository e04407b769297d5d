"""Texts: where they come from, and which rows make which batch. `data.batches`, which needs torch, is not pulled in."""

from matryoshka_text.data.examples import Examples, assembled, read_examples
from matryoshka_text.data.fingerprints import fingerprint
from matryoshka_text.data.held_out import HeldOutRows, read_held_out
from matryoshka_text.data.hub import Unreachable
from matryoshka_text.data.planner import BatchPlan, plan_batches
from matryoshka_text.data.sources import SourceRows, read_source

__all__ = [
    "BatchPlan",
    "Examples",
    "HeldOutRows",
    "SourceRows",
    "Unreachable",
    "assembled",
    "fingerprint",
    "plan_batches",
    "read_examples",
    "read_held_out",
    "read_source",
]
