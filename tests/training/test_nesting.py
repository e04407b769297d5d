from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from matryoshka_text.heads.uncertainty import Uncertainty
from matryoshka_text.recipe import LayerPairs, RandomLayer
from matryoshka_text.recipe.nesting import weights_of
from matryoshka_text.training.nesting import LayerPlan, Nestings

CPU = torch.device("cpu")
FACTORS = (1.0, 2.0, 4.0)


def _recipe(how: str = "all", seed: int = 0) -> SimpleNamespace:
    return SimpleNamespace(lengths=(4, 8, 16), factors=FACTORS, dims_per_step=how, seed=seed)


def test_all_lengths_are_read_with_their_factors() -> None:
    nesting, added = Nestings(_recipe(), None).at(3, "info_nce", CPU)
    assert nesting.dims == (4, 8, 16)
    assert nesting.weights.tolist() == list(FACTORS)
    assert float(added) == 0.0


@pytest.mark.parametrize(("how", "count"), [("nested_dropout", 1), ("one_and_full", 2)])
def test_drawn_lengths_have_the_expectation_of_all(how: str, count: int) -> None:
    """The mean over many steps of each length's factor is the factor it has where all are read."""
    nestings, sums, steps = Nestings(_recipe(how), None), Counter(), 6000
    for step in range(steps):
        nesting, _ = nestings.at(step, "info_nce", CPU)
        assert len(nesting.dims) == count and list(nesting.dims) == sorted(nesting.dims)
        assert how == "nested_dropout" or nesting.dims[-1] == 16
        sums.update(dict(zip(nesting.dims, nesting.weights.tolist(), strict=True)))
    means = [sums[dim] / steps for dim in (4, 8, 16)]
    assert means == pytest.approx(FACTORS, rel=0.06)


def test_the_layers_term_makes_up_for_the_draw_and_has_no_other_factor() -> None:
    nesting = Nestings(_recipe("one_and_full"), None).unweighted(0, CPU)
    assert len(nesting.dims) == 2 and nesting.weights.tolist() == [2.0, 1.0]
    assert Nestings(_recipe(), None).unweighted(0, CPU, within=(8,)).dims == (8,)


def test_a_draw_depends_on_seed_and_step_alone() -> None:
    first, again, other = (Nestings(_recipe("nested_dropout", seed), None) for seed in (1, 1, 2))
    torch.manual_seed(5)
    drawn = [[n.at(step, "mlm", CPU)[0].dims for step in range(40)] for n in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_learned_factors_are_kendalls() -> None:
    learned = Uncertainty(["mlm"], 3)
    with torch.no_grad():
        learned.log_variance["mlm"].copy_(torch.tensor([0.5, -1.0, 2.0]))
    nesting, added = Nestings(_recipe(), learned).at(0, "mlm", CPU)
    loss = torch.tensor([3.0, 2.0, 1.0])
    total = (nesting.weights * loss).sum() + added
    s = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    expected = sum(f * (float(torch.exp(-x)) * y + float(x) / 2) for f, x, y in zip(FACTORS, s, (3, 2, 1), strict=True))
    assert total.item() == pytest.approx(expected, rel=1e-6)
    total.backward()
    slope = [f * (-float(torch.exp(-x)) * y + 0.5) for f, x, y in zip(FACTORS, s, (3, 2, 1), strict=True)]
    assert learned.log_variance["mlm"].grad.tolist() == pytest.approx(slope, rel=1e-6)


def test_low_dims_boosted() -> None:
    low = weights_of("low", (12, 48, 192))
    assert sum(low) == pytest.approx(3)
    assert low[0] / low[1] == pytest.approx(2) and low[1] / low[2] == pytest.approx(2)
    assert weights_of("uniform", (1, 2)) == weights_of("learned", (1, 2)) == (1.0, 1.0)


def test_a_random_layer_is_below_the_last_and_every_one_comes() -> None:
    plan = LayerPlan(RandomLayer(kind="random", lowest=2, weight=0.5), depth=6, seed=0)
    drawn = [plan.at(step) for step in range(200)]
    assert {layers[-1] for layers in drawn} == {6}
    assert {layers[0] for layers in drawn} == {2, 3, 4, 5}
    assert plan.layers == (2, 3, 4, 5, 6) and plan.lengths(3) is None
    assert (plan.factor(6, 2), plan.factor(3, 2)) == (1.0, 0.5)


def test_pairs_of_layer_and_dim() -> None:
    plan = LayerPlan(LayerPairs(kind="pairs", pairs=((2, 4), (4, 8), (6, 16))), depth=6, seed=0)
    assert plan.at(0) == plan.at(9) == (2, 4, 6)
    assert [plan.lengths(layer) for layer in plan.layers] == [(4,), (8,), (16,)]
    assert plan.factor(2, 3) == 0.5


def test_without_layers_the_last_alone() -> None:
    plan = LayerPlan(None, depth=6, seed=0)
    assert plan.at(4) == plan.layers == (6,) and plan.kl_weight == 0
