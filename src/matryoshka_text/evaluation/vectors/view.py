"""Views of stored vectors: which coordinates are scored, and in which precision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from matryoshka_text.rows import BASELINES, Method, Precision

__all__ = ["BASELINES", "PRECISIONS", "View", "bytes_per_vector"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_DRAWN: tuple[Method, ...] = ("random", "projection")
_FITTED: tuple[Method, ...] = ("pca", "svd")


@dataclass(frozen=True, order=True)
class View:
    """What is scored: `dim` coordinates made of the full width by `method`, stored in `precision`.

    `seed` tells draws of a random method apart; None where nothing is drawn. `rotation` tells rotations apart, 64 hex
    digits: a given one's matrix, or what one is fitted for on the task's documents (`Fit`); None where nothing turns.
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

    def experiment(
        self, width: int, *, normalize: bool, layers: int | None, marks: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        """What sets a result apart from that of the model as it is (None): mteb's `experiment_kwargs`.

        A raw first-m prefix is mteb's own experiment, {"embed_dim": m}; `normalize` says that the vectors were brought
        to length 1 again, which mteb does not do. `marks`: digests of prompts and sample, where there are such.
        """
        found: dict[str, Any] = {} if self.dim == width else {"embed_dim": self.dim}
        if normalize:
            found["normalize"] = True
        if self.method != "first":
            found["reduction"] = self.method
        if self.seed is not None:
            found["seed"] = self.seed
        if self.rotation is not None:
            found["rotation"] = self.rotation[:12]
        if self.precision != "float32":
            found["precision"] = self.precision
        if layers is not None:
            found["layers"] = layers
        found.update(marks or {})
        return found or None


def bytes_per_vector(dim: int, precision: Precision) -> int:
    """What one vector takes in memory: float32 4 bytes a coordinate, int8 one, binary one bit."""
    return {"float32": 4 * dim, "int8": dim, "binary": (dim + 7) // 8}[precision]
