"""Where the fused kernels run, and which way of computing "auto" takes."""

from importlib.util import find_spec
from typing import Literal, NamedTuple

import torch

__all__ = ["MOST_DIMS", "ChosenBackend", "choose_backend", "refuse_fused"]

MOST_DIMS = 32
"""A tile's running log-sum-exps of more prefixes than these no longer fit in its registers."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LEAST_CAPABILITY = (8, 0)


class ChosenBackend(NamedTuple):
    """The backend that "auto" takes, and why."""

    name: Literal["fused", "chunked"]
    reason: str


def choose_backend(device: torch.device | str, dtype: torch.dtype = torch.float32, dims: int = 1) -> ChosenBackend:
    """What `nested_cross_entropy` does under backend="auto" for vectors of `dtype` on `device`, read at `dims` lengths.

    "fused" on an NVIDIA GPU of compute capability 8.0 or above, if triton is installed, for float32, bfloat16 and
    float16 and at most 32 dims; "chunked" otherwise. `dtype` is what the types of query and candidate promote to.

        >>> choose_backend("cpu").reason
        'the vectors are on cpu, no CUDA device'
    """
    where = torch.device(device)
    if where.type != "cuda":
        return ChosenBackend("chunked", f"the vectors are on {where.type}, no CUDA device")
    obstacle = _obstacle(where, dtype, dims)
    if obstacle is None and _interpreted():
        obstacle = "TRITON_INTERPRET is set, and the kernels would run in Triton's interpreter"
    if obstacle is not None:
        return ChosenBackend("chunked", obstacle)
    return ChosenBackend("fused", f"{torch.cuda.get_device_name(where)}, {dtype}, {dims} dims: the fused kernels run")


def refuse_fused(device: torch.device, dtype: torch.dtype, dims: int) -> None:
    """Check that the fused kernels can run. ValueError says what was found and what is allowed."""
    obstacle = _obstacle(device, dtype, dims)
    if obstacle is None:
        return
    raise ValueError(
        f"backend is 'fused', but {obstacle}; allowed are float32, bfloat16 and float16, at most {MOST_DIMS} dims, on "
        "an NVIDIA GPU of compute capability 8.0 or above with triton (on a processor: with TRITON_INTERPRET=1 set "
        "before the start, for tests); use backend='auto', which takes 'chunked' elsewhere"
    )


def _obstacle(device: torch.device, dtype: torch.dtype, dims: int) -> str | None:
    """Why the fused kernels cannot run; None if they can."""
    if dtype not in DTYPES:
        return f"the vectors are {dtype}"
    if dims > MOST_DIMS:
        return f"there are {dims} dims"
    if find_spec("triton") is None:
        return "triton is not installed"
    if device.type == "cpu":
        return None if _interpreted() else "the vectors are on cpu"
    if device.type != "cuda":
        return f"the vectors are on {device.type}"
    if not torch.cuda.is_available():
        return "this machine has no CUDA device"
    if torch.version.hip is not None:
        return "the GPU is AMD's, where the kernels were never tried"
    found = torch.cuda.get_device_capability(device)
    return None if found >= LEAST_CAPABILITY else f"the GPU has compute capability {found[0]}.{found[1]}"


def _interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter, which importing them settles."""
    if find_spec("triton") is None:
        return False
    from matryoshka_text.nested.kernels import INTERPRETED

    return INTERPRETED
