"""The job that learns a rotation: texts to vectors, vectors to a matrix, the matrix into a model."""

from matryoshka_text.rotating.job import Rotated, rotate

__all__ = ["Rotated", "rotate"]
