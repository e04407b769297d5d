"""Objectives: what a batch of vectors should look like, at every prefix."""

from matryoshka_text.objectives.batch import GlobalBatch, Nesting, Objective
from matryoshka_text.objectives.classify import Classify
from matryoshka_text.objectives.cosent import CoSENT
from matryoshka_text.objectives.distill import Distill
from matryoshka_text.objectives.info_nce import InfoNCE
from matryoshka_text.objectives.score_distill import ScoreDistill
from matryoshka_text.objectives.self_distill import SelfDistill

__all__ = [
    "Classify",
    "CoSENT",
    "Distill",
    "GlobalBatch",
    "InfoNCE",
    "Nesting",
    "Objective",
    "ScoreDistill",
    "SelfDistill",
]
