"""Which arithmetic an encoder runs in: decided by what the hardware is, so that it is the same under any load."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import torch

__all__ = ["Decision", "Dtype", "checked_dtype", "choose_dtype", "decide_dtype"]

Dtype = Literal["float32", "bf16", "auto"]

# Instructions that multiply bf16 at twice the rate of float32, or more.
_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "sve_bf16")


class Decision(NamedTuple):
    """An arithmetic, and why it was taken."""

    dtype: Literal["float32", "bf16"]
    reason: str


def checked_dtype(asked: object) -> Dtype:
    """`asked` itself; ValueError if it is not one of the words."""
    for word in get_args(Dtype):
        if asked == word:
            found: Dtype = word
            return found
    raise ValueError(f"dtype is {asked!r}; allowed: {', '.join(get_args(Dtype))}")


def choose_dtype(asked: Dtype, device: torch.device) -> Literal["float32", "bf16"]:
    """What `asked` means on `device`: auto is bf16 if the hardware has instructions for it."""
    return decide_dtype(asked, device).dtype


def decide_dtype(asked: Dtype, device: torch.device) -> Decision:
    """What `asked` means on `device`, with the reason. Nothing is measured: the answer depends on the hardware only."""
    if asked != "auto":
        return Decision(asked, "asked for")
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Decision("bf16", f"auto: {name} has bf16")
        return Decision("float32", f"auto: {name} has no bf16")
    if device.type == "cpu":
        # Older releases of torch do not tell.
        capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        there = [name for name in _INSTRUCTIONS if capabilities.get(name, False)]
        if there and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return Decision("bf16", f"auto: the CPU has {', '.join(there)}")
        return Decision("float32", f"auto: the CPU has none of {', '.join(_INSTRUCTIONS)}")
    return Decision("float32", f"auto: bf16 is taken on CPUs and NVIDIA GPUs only, not on {device.type}")
