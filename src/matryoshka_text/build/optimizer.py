"""AdamW and its learning rates from the recipe's optimizer section."""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from transformers import get_scheduler

from matryoshka_text.recipe import Optimizer

__all__ = ["build_optimizer", "learning_rates"]

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def build_optimizer(
    section: Optimizer, model: nn.Module, from_scratch: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters; biases and norms (one axis) without weight decay.

    Parameters in `from_scratch` have the heads' learning rate. Each group's `factor` is its rate's share of the main
    one, which a schedule multiplies.
    """
    fresh = {id(parameter) for parameter in from_scratch}
    trainable = [p for p in model.parameters() if p.requires_grad]
    head = section.head_learning_rate / section.learning_rate
    groups = [
        {
            "params": [p for p in trainable if (p.ndim >= 2) == decayed and (id(p) in fresh) == new],
            "weight_decay": section.weight_decay if decayed else 0.0,
            "factor": head if new else 1.0,
        }
        for new in (False, True)
        for decayed in (True, False)
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=section.learning_rate,
        betas=section.betas,
        eps=section.epsilon,
        # One pass over weights and moments; and it can skip a step, decided on the device (`found_inf`).
        fused=True,
    )


def learning_rates(section: Optimizer, steps: int) -> Callable[[int], float]:
    """The learning rate of step i (from 0): warm-up over `warmup` x `steps`, then transformers' schedule to the end.

    A pure function of the step, so a resumed run needs no scheduler state.
    """
    probe = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    warmup = round(section.warmup * steps)
    factor = get_scheduler(_SCHEDULES[section.schedule], probe, warmup, steps).lr_lambdas[0]
    # Step 0 of a warm-up would have rate 0: a step that learns nothing. Counting from 1 spends every step.
    shift = 1 if warmup else 0
    return lambda step: section.learning_rate * float(factor(min(step + shift, max(steps - 1, 0)) if warmup else step))
