import pytest
import torch
from torch import nn

from matryoshka_text.build.optimizer import build_optimizer, learning_rates
from matryoshka_text.recipe import Optimizer


def test_biases_and_norms_do_not_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    model[0].weight.requires_grad_(False)
    groups = build_optimizer(Optimizer(weight_decay=0.5), nn.Sequential(model, nn.Linear(3, 2))).param_groups
    assert [(g["weight_decay"], [tuple(p.shape) for p in g["params"]]) for g in groups] == [
        (0.5, [(2, 3)]),
        (0.0, [(3,), (3,), (3,), (2,)]),
    ]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_rate_rises_and_falls_and_no_step_is_wasted(schedule: str) -> None:
    rate = learning_rates(Optimizer(learning_rate=0.1, warmup=0.2, schedule=schedule), 50)
    rates = [rate(step) for step in range(50)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[9] == pytest.approx(0.1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert min(rates) > 0
    assert (rates[-1] == pytest.approx(0.1)) == (schedule == "constant")


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    rate = learning_rates(Optimizer(learning_rate=0.1, warmup=0.0), 4)
    assert [rate(step) for step in range(4)] == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_one_step_is_a_schedule_too() -> None:
    assert learning_rates(Optimizer(learning_rate=0.1, warmup=0.1), 1)(0) == pytest.approx(0.1)


def test_it_is_adamw_with_the_recipes_numbers() -> None:
    optimizer = build_optimizer(Optimizer(betas=(0.8, 0.9), epsilon=1e-7, learning_rate=2e-5), nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.AdamW)
    group = optimizer.param_groups[0]
    assert (group["betas"], group["eps"], group["lr"]) == ((0.8, 0.9), 1e-7, 2e-5)
