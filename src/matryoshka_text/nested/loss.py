"""What every nested loss returns, and the one choice of how to compute it."""

from typing import Literal, NamedTuple, get_args

from jaxtyping import Float
from torch import Tensor

__all__ = ["BACKENDS", "Backend", "NestedLoss", "Number"]

Number = int | float  # spelled out for the run-time check of annotations, where float leaves out int
Backend = Literal["auto", "reference", "chunked", "fused"]
BACKENDS: tuple[str, ...] = get_args(Backend)


class NestedLoss(NamedTuple):
    """A loss read at K prefix lengths of the same vectors.

    `total` carries the gradient: the sum over dims of weight * loss at that dim. `per_dim` is detached and unweighted,
    one entry a dim in the order of `dims`. Both are float32, or float64 if an input is.
    """

    total: Float[Tensor, ""]
    per_dim: Float[Tensor, " k"]
