"""The group of processes that `accelerate launch` starts."""

import atexit
import functools

__all__ = ["leave_at_exit"]


@functools.cache
def leave_at_exit() -> None:
    """Have the process group left when the program ends, and not before: a second job is done in it."""
    import torch

    atexit.register(lambda: torch.distributed.is_initialized() and torch.distributed.destroy_process_group())
