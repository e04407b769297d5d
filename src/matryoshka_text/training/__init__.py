"""Training: a recipe goes in, a run folder with a Matryoshka encoder comes out."""

from matryoshka_text.training.job import TrainedRun, train

__all__ = ["TrainedRun", "train"]
