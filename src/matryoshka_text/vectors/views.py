"""Views of stored vectors: which coordinates are scored, in which precision, and how they are made."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from jaxtyping import Float32, Float64

from matryoshka_text.errors import EvaluationError
from matryoshka_text.rows import BASELINES, Method, Precision

__all__ = ["BASELINES", "PRECISIONS", "Cut", "Fitted", "View", "bytes_per_vector", "cut_of", "unit_rows"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_DRAWN: tuple[Method, ...] = ("random", "projection")
_FITTED: tuple[Method, ...] = ("pca", "svd")


@dataclass(frozen=True, order=True)
class View:
    """What is scored: `dim` coordinates made of the full width by `method`, stored in `precision`.

    `seed` tells draws of a random method apart; None if nothing is drawn. `rotation` tells rotations apart, 64 hex
    digits: a given one's matrix, or what one is fitted for on the task's documents (`Fit`); None if nothing turns.
    """

    dim: int
    method: Method = "first"
    seed: int | None = None
    precision: Precision = "float32"
    rotation: str | None = None

    def __str__(self) -> str:
        how: list[str] = [] if self.method == "first" else [self.method]
        how += [] if self.seed is None else [f"seed {self.seed}"]
        how += [] if self.precision == "float32" else [self.precision]
        return " ".join([f"{self.dim} dims", *how])

    @property
    def drawn(self) -> bool:
        """Whether another seed gives other vectors."""
        return self.method in _DRAWN

    @property
    def needs_sample(self) -> bool:
        """Whether it has to be fitted or calibrated on a sample of texts."""
        return self.method in _FITTED or self.precision == "int8"

    def whole(self, width: int) -> bool:
        """Whether the vectors are compared as the model gave them, but for their length.

        A rotation changes no cosine at full width; one fitted on the documents is left out there, so that not even
        rounding does.
        """
        return self.dim == width and self.method in ("first", "rotation")


def bytes_per_vector(dim: int, precision: Precision) -> int:
    """What one vector takes in memory: float32 4 bytes a coordinate, int8 one, binary one bit."""
    return {"float32": 4 * dim, "int8": dim, "binary": (dim + 7) // 8}[precision]


Vectors = Float32[np.ndarray, "n width"]
Matrix = Float64[np.ndarray, "width width"]
Reduce = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Cut:
    """How vectors become those that are scored: the first `reads` coordinates are read and go through `apply`."""

    reads: int
    apply: Callable[[np.ndarray], np.ndarray]


def unit_rows(vectors: Float32[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n dim"]:
    """Every row divided by its length; a row of zeros stays."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


class Fitted:
    """What is learnt from a sample's vectors of full width: components for pca and svd."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def components(self, *, centred: bool) -> tuple[Float64[np.ndarray, " width"], Float64[np.ndarray, "width width"]]:
        """The point subtracted (zeros unless `centred`) and the directions as columns, largest variance first."""
        return self._centred if centred else self._plain

    @cached_property
    def _centred(self) -> tuple[np.ndarray, np.ndarray]:
        mean = self.vectors.mean(axis=0, dtype=np.float64)
        return mean, _directions(self.vectors - mean)

    @cached_property
    def _plain(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(self.vectors.shape[1]), _directions(self.vectors.astype(np.float64))


def _directions(vectors: np.ndarray) -> np.ndarray:
    # The right singular vectors, through the products of the columns: n x width is never decomposed.
    values, directions = np.linalg.eigh(vectors.T @ vectors)
    directions = directions[:, np.argsort(values)[::-1]]
    # A direction's sign is free; the largest entry is made positive, so that every machine has the same.
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])]
    return np.asarray(directions * np.where(largest < 0, -1.0, 1.0))


def cut_of(
    view: View,
    *,
    width: int,
    unit: bool,
    normalize: bool,
    fitted: Callable[[], Fitted],
    rotation: Callable[[], Matrix] | None = None,
) -> Cut:
    """The cut that the view is, for vectors of that width; `fitted` is called where a sample is needed, `rotation`
    where vectors are multiplied by a matrix.

    `normalize` brings what was cut back to length 1; vectors of a model that gives unit length (`unit`) are left as
    they are at full width. int8: each coordinate's range in the sample is divided into 255 steps, once, and what is
    scored are the values that the codes stand for; what lies outside the range becomes its end. binary: signs.
    """
    reads, reduce = _turned(view, width, rotation) if rotation else _reduction(view, width, fitted)
    lengths = normalize and not (unit and view.whole(width))

    def before(vectors: np.ndarray) -> np.ndarray:
        found = reduce(vectors)
        return unit_rows(found) if lengths else found

    if view.precision == "float32":
        return Cut(reads, before)
    if view.precision == "binary":
        size = np.float32(1 / np.sqrt(view.dim)) if normalize else np.float32(1)
        return Cut(reads, lambda vectors: np.where(before(vectors) > 0, size, -size))
    sample = before(fitted().vectors[:, :reads])
    low, high = sample.min(axis=0), sample.max(axis=0)
    step = np.maximum((high - low) / 255, np.finfo(np.float32).tiny)
    return Cut(reads, lambda vectors: low + step * np.rint((np.clip(before(vectors), low, high) - low) / step))


def _turned(view: View, width: int, rotation: Callable[[], Matrix]) -> tuple[int, Reduce]:
    """The first coordinates of the rotated vectors."""
    if view.whole(width):
        return width, lambda vectors: vectors
    columns = rotation()[:, : view.dim].astype(np.float32)
    return width, lambda vectors: vectors @ columns


def _reduction(view: View, width: int, fitted: Callable[[], Fitted]) -> tuple[int, Reduce]:
    """How many coordinates are read, and what is made of them."""
    if view.method == "first":
        return view.dim, lambda vectors: vectors
    if view.method in ("pca", "svd"):
        sample = fitted()
        if len(sample.vectors) <= view.dim:
            raise EvaluationError(
                f"{view.method}: {len(sample.vectors)} texts of the sample give no {view.dim} components; "
                "give a larger sample, or fewer dims"
            )
        mean, directions = sample.components(centred=view.method == "pca")
        mean32, chosen = mean.astype(np.float32), directions[:, : view.dim].astype(np.float32)
        return width, lambda vectors: (vectors - mean32) @ chosen
    rng = np.random.default_rng(view.seed)
    if view.method == "random":
        # One order of all coordinates a seed: the choice of 24 holds that of 12, as prefixes do.
        places = rng.permutation(width)[: view.dim]
        return width, lambda vectors: np.ascontiguousarray(vectors[:, places])
    matrix = (rng.standard_normal((width, width))[:, : view.dim] / np.sqrt(view.dim)).astype(np.float32)
    return width, lambda vectors: vectors @ matrix
