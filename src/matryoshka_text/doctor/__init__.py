"""`examine`: what a bug report needs to know of this machine, and of a model, a recipe or a run."""

from matryoshka_text.doctor.examine import Examination, examine
from matryoshka_text.doctor.line import Line

__all__ = ["Examination", "Line", "examine"]
