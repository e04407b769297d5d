"""AdamW and its learning rates from the recipe's optimizer section."""

from collections.abc import Callable

import torch
from torch import nn
from transformers import get_scheduler

from matryoshka_text.recipe import Optimizer

__all__ = ["build_optimizer", "learning_rates"]

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def build_optimizer(section: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters; biases and norms (one axis) without weight decay."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": section.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=section.learning_rate, betas=section.betas, eps=section.epsilon)


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
