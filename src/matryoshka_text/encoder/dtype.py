"""Which arithmetic an encoder runs in: measured on this machine, not assumed from its name."""

import time
from functools import cache
from typing import Literal, get_args

import torch

__all__ = ["Dtype", "checked_dtype", "choose_dtype", "speed_of_bf16"]

Dtype = Literal["float32", "bf16", "auto"]

# Below this the casts and the lost digits are not paid for.
WORTH_IT = 1.3


def checked_dtype(asked: object) -> Dtype:
    """`asked` itself; ValueError if it is not one of the words."""
    for word in get_args(Dtype):
        if asked == word:
            found: Dtype = word
            return found
    raise ValueError(f"dtype is {asked!r}; allowed: {', '.join(get_args(Dtype))}")


def choose_dtype(asked: Dtype, device: torch.device) -> Literal["float32", "bf16"]:
    """What `asked` means on `device`: auto is bf16 where a bf16 product runs at least 1.3 x as fast as float32."""
    if asked != "auto":
        return asked
    return "bf16" if _measured(device) >= WORTH_IT else "float32"


@cache
def _measured(device: torch.device) -> float:
    # Once a process: an encoder that is asked for one text at a time must not measure each time.
    with torch.inference_mode(False):
        return speed_of_bf16(device)


def speed_of_bf16(device: torch.device, *, rounds: int = 5) -> float:
    """How many times as fast as float32 a linear layer of an encoder's size runs in bf16, forward and backward."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return 0.0
    rows = 2048 if device.type == "cpu" else 16384
    weight = torch.ones(1536, 384, device=device, requires_grad=True)
    inputs = torch.ones(rows, 384, device=device, requires_grad=True)
    times: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16) * rounds:
        times[dtype] = min(times.get(dtype, float("inf")), _seconds(inputs, weight, dtype))
    return times[torch.float32] / times[torch.bfloat16]


def _seconds(inputs: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype) -> float:
    def wait() -> float:
        if inputs.device.type == "cuda":
            torch.cuda.synchronize(inputs.device)
        return time.perf_counter()

    start = wait()
    with torch.enable_grad(), torch.autocast(inputs.device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
        out = torch.nn.functional.linear(inputs, weight)
        torch.autograd.grad(out.sum(), (inputs, weight))
    return wait() - start
