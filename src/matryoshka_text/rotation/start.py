"""Where the rotation starts: principal axes of the vectors, taken within sources, over all of them, or none."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Float64
from torch import Tensor

__all__ = ["STARTS", "Start", "principal_axes", "starting_matrix", "within_source_covariance"]

Start = Literal["within_source", "pooled", "identity"]
STARTS: tuple[Start, ...] = get_args(Start)

Sources = Sequence[Float[Tensor, "_ width"]]


def starting_matrix(vectors_by_source: Sources, start: Start) -> Float64[Tensor, "width width"]:
    """An orthogonal matrix R0, applied as `vectors @ R0`.

    within_source: the principal axes, by falling variance, of the mean over sources of each source's own covariance.
    The axes of all sources together (pooled) tell sources apart first, which is worth nothing within one task.
    """
    if start == "identity":
        return torch.eye(vectors_by_source[0].shape[1], dtype=torch.float64)
    together = [torch.cat(list(vectors_by_source))] if start == "pooled" else vectors_by_source
    return principal_axes(within_source_covariance(together))


def within_source_covariance(vectors_by_source: Sources) -> Float64[Tensor, "width width"]:
    """The mean over sources of each source's covariance; every source counts the same, whatever its size."""
    return torch.stack([torch.cov(vectors.double().T, correction=0) for vectors in vectors_by_source]).mean(0)


def principal_axes(covariance: Float64[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    """Its eigenvectors as columns, the largest eigenvalue first; the largest entry of each is positive."""
    axes = torch.linalg.eigh(covariance).eigenvectors.flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return axes * torch.where(largest < 0, -1.0, 1.0)
