"""The border of the room: what a caller may pass, checked once, with errors that say what is allowed."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from matryoshka_text.nested.loss import BACKENDS, Number

__all__ = [
    "check_backend",
    "check_denominator",
    "check_index",
    "check_scale",
    "check_shape",
    "check_vectors",
    "check_weights",
    "computing_dtype",
]


def check_backend(backend: str, allowed: Sequence[str] = BACKENDS) -> str:
    """`backend`; ValueError for a name that is not among the `allowed` ones."""
    if backend not in allowed:
        raise ValueError(f"backend is {backend!r}; allowed are {', '.join(map(repr, allowed))}")
    return backend


def check_shape(name: str, value: Tensor, shape: tuple[int | None, ...], device: torch.device) -> None:
    """ValueError if `value` has another shape (None = any size) or lies on another device."""
    wanted = "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
    fits = len(shape) == value.ndim and all(w in (None, s) for w, s in zip(shape, value.shape, strict=True))
    if not fits:
        raise ValueError(f"{name} has shape {list(value.shape)}; allowed is {wanted}")
    if value.device != device:
        raise ValueError(f"{name} is on {value.device}; it has to be where the first argument is, on {device}")


def check_vectors(name: str, value: Tensor, shape: tuple[int | None, ...], device: torch.device) -> None:
    """ValueError as from `check_shape`, or if `value` does not hold floating-point numbers."""
    check_shape(name, value, shape, device)
    if not value.is_floating_point():
        raise ValueError(f"{name} holds {value.dtype}; allowed are floating-point numbers")


def check_index(
    name: str, value: Tensor, rows: int, device: torch.device, below: int | None = None
) -> Shaped[Tensor, " b"]:
    """`value` as int64 [rows]; ValueError unless it holds integers, within 0..below-1 if `below` is given.

    On a GPU the bounds are asserted on the device, without the host waiting for what it holds.
    """
    check_shape(name, value, (rows,), device)
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise ValueError(f"{name} holds {value.dtype}; allowed are integers")
    if below is None or not rows:
        return value.long()
    if device.type == "cuda":
        within = ((value >= 0) & (value < below)).all()
        torch._assert_async(within, f"{name} holds an index outside 0 to {below - 1}")
    elif not 0 <= int(value.min()) <= int(value.max()) < below:
        raise ValueError(f"{name} spans {int(value.min())} to {int(value.max())}; allowed are 0 to {below - 1}")
    return value.long()


def check_weights(
    weights: Sequence[Number] | Tensor | None, count: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, " k"]:
    """One weight a dim, 1 if none are given; ValueError for another number of them or for a negative one."""
    if weights is None:
        return torch.ones(count, dtype=dtype, device=device)
    given = weights if isinstance(weights, Tensor) else torch.tensor(list(weights), dtype=dtype)
    if given.shape != (count,):
        raise ValueError(f"weights has shape {list(given.shape)}; allowed is one weight for each of the {count} dims")
    if not isinstance(weights, Tensor) and not all(0 <= weight < math.inf for weight in given.tolist()):
        raise ValueError(f"weights are {given.tolist()}; allowed are finite numbers of at least 0")
    return given.to(device=device, dtype=dtype, non_blocking=True)


def check_scale(name: str, scale: Number | Tensor, dtype: torch.dtype, device: torch.device) -> Float[Tensor, ""]:
    """`scale` as a tensor without axes; ValueError unless it is one positive finite number.

    A plain number stays on the host, where reading it costs nothing.
    """
    given = scale if isinstance(scale, Tensor) else torch.tensor(float(scale), dtype=dtype)
    if given.numel() != 1:
        raise ValueError(f"{name} has shape {list(given.shape)}; allowed is a single number")
    if not 0 < given.item() < math.inf:
        raise ValueError(f"{name} is {given.item()}; allowed is a finite number above 0")
    return given.reshape(()).to(device=device if isinstance(scale, Tensor) else None, dtype=dtype)


def check_denominator(denominator: Number | Tensor | None, rows: int) -> float:
    """What the sum over rows is divided by: `rows`, or the global count given; 1 for 0 rows of 0, which gives 0."""
    found = float(rows if denominator is None else denominator)
    if not 0 <= found < math.inf or (found == 0 and rows):
        raise ValueError(f"denominator is {found} for {rows} rows; allowed is a finite number above 0")
    return found or 1.0


def computing_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if an input is, float32 otherwise: half precision is read, never accumulated in."""
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
