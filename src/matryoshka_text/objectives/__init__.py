"""Objectives: what a batch of vectors should look like, at every prefix."""

from matryoshka_text.objectives.batch import GlobalBatch, Objective
from matryoshka_text.objectives.distill import Distill
from matryoshka_text.objectives.info_nce import InfoNCE

__all__ = ["Distill", "GlobalBatch", "InfoNCE", "Objective"]
