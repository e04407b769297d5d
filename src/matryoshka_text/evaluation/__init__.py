"""Evaluation: every text encoded once, every dim scored by mteb's own task classes from the stored vectors."""

from matryoshka_text.evaluation.harness import Evaluation, Failure, evaluate
from matryoshka_text.evaluation.plan import Plan, plan_evaluation

__all__ = ["Evaluation", "Failure", "Plan", "evaluate", "plan_evaluation"]
