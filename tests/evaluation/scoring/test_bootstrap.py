"""Intervals against plain loops that build each resample and hand it to scipy and sklearn."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from matryoshka_text.evaluation.scoring import bootstrap
from matryoshka_text.evaluation.scoring.bootstrap import difference, gap, interval, resampled
from matryoshka_text.evaluation.scoring.items import Items, Part

ROUNDS = 60


def part(kind: Any, values: Any, gold: Any = None, identity: str = "ab" * 32) -> Part:
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    return Part(kind, rows, identity, None if gold is None else np.asarray(gold, dtype=np.float64))


def parts(n: int = 37) -> dict[str, Part]:
    rng = np.random.default_rng(n)
    labels = (rng.random(n) < 0.3).astype(float)
    return {
        "mean": part("mean", rng.random(n)),
        "no ties": part("spearman", rng.normal(size=n), rng.normal(size=n)),
        "ties in gold": part("spearman", rng.normal(size=n), rng.integers(0, 4, n)),
        "ties in both": part("spearman", rng.integers(0, 5, n), rng.integers(0, 4, n)),
        "ties in the similarity": part("spearman", rng.integers(0, 5, n), rng.normal(size=n)),
        "precision": part("precision", rng.normal(size=(1, n)) + labels, labels),
        "precision with ties": part("precision", rng.integers(0, 4, (1, n)) + labels, labels),
        "the best of several": part("precision", rng.normal(size=(3, n)) + 0.5 * labels, labels),
    }


def draws(one: Part, seed: int, rounds: int) -> Iterator[np.ndarray]:
    """The items drawn in each round, one number for each item drawn: they are in the order of the gold scores."""
    generator = np.random.default_rng([seed, int(one.identity[:16], 16)])
    n = one.values.shape[1]
    order = np.argsort(one.gold, kind="stable") if one.kind == "spearman" and one.gold is not None else np.arange(n)
    for drawn in generator.integers(0, n, size=(rounds, n), dtype=np.int32):
        yield order[drawn]


def plainly(one: Part, drawn: np.ndarray) -> float:
    if one.kind == "mean":
        return 100 * sum(float(one.values[0, item]) for item in drawn) / len(drawn)
    assert one.gold is not None
    if one.kind == "spearman":
        return 100 * float(spearmanr(one.gold[drawn], one.values[0][drawn])[0])
    return 100 * max(float(average_precision_score(one.gold[drawn], row[drawn])) for row in one.values)


def bounds(scores: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("name", parts())
@pytest.mark.parametrize("cells", [800_000, 200])
def test_each_round_is_the_score_of_the_items_drawn(name: str, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any number of rounds a table: what is drawn does not depend on it."""
    monkeypatch.setattr(bootstrap, "_CELLS", cells)
    one = parts()[name]
    expected = [plainly(one, drawn) for drawn in draws(one, 5, ROUNDS)]
    np.testing.assert_allclose(resampled(Items((one,)), seed=5, rounds=ROUNDS), expected, rtol=0, atol=1e-9)
    assert interval(Items((one,)), seed=5, rounds=ROUNDS) == pytest.approx(bounds(expected), abs=1e-9)


def test_every_item_once_is_the_score_itself() -> None:
    for one in parts().values():
        statistic = {"mean": bootstrap._mean, "spearman": bootstrap._spearman, "precision": bootstrap._precision}
        once = np.ones((1, one.values.shape[1]))
        assert statistic[one.kind](one)(once)[0] == pytest.approx(one.score(), abs=1e-12)


def test_subsets_are_drawn_each_for_itself() -> None:
    small, large = parts(11)["mean"], part("mean", np.arange(29.0), identity="cd" * 32)
    together = resampled(Items((small, large)), seed=1, rounds=ROUNDS)
    alone = [resampled(Items((one,)), seed=1, rounds=ROUNDS) for one in (small, large)]
    np.testing.assert_allclose(together, (alone[0] + alone[1]) / 2)
    assert abs(np.corrcoef(alone)[0, 1]) < 0.4


@pytest.mark.parametrize("name", parts())
def test_a_difference_is_of_the_same_items_drawn(name: str) -> None:
    ours = parts()[name]
    noise = np.random.default_rng(3)
    theirs = part(ours.kind, ours.values + noise.normal(scale=0.3, size=ours.values.shape), ours.gold)
    drawn = list(draws(ours, 9, ROUNDS))
    expected = [plainly(ours, one) - plainly(theirs, one) for one in drawn]
    found = difference(Items((ours,)), Items((theirs,)), seed=9, rounds=ROUNDS)
    assert found == pytest.approx(bounds(expected), abs=1e-9)


def test_of_several_draws_of_a_baseline_all_but_one_are_drawn_again() -> None:
    ours, rng = parts()["ties in gold"], np.random.default_rng(1)
    several = [part("spearman", rng.normal(size=37), ours.gold) for _ in range(3)]
    rounds = list(draws(ours, 2, ROUNDS))
    again = np.random.default_rng([2, 3, 1]).integers(0, 3, size=(ROUNDS, 2))
    gaps = [
        plainly(ours, one) - sum(plainly(several[draw], one) for draw in chosen) / 2
        for one, chosen in zip(rounds, again, strict=True)
    ]
    found = difference(Items((ours,)), [Items((other,)) for other in several], seed=2, rounds=ROUNDS)
    assert found == pytest.approx(bounds(gaps), abs=1e-9)
    turned = difference([Items((other,)) for other in several], Items((ours,)), seed=2, rounds=ROUNDS)
    assert turned == pytest.approx((-found[1], -found[0]), abs=1e-9)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_draws_vary_as_their_mean_does(count: int) -> None:
    """The variance of a mean of k draws is s^2 / k, s^2 with k - 1 below; and two sides' draws are apart."""
    scores = np.random.default_rng(count).normal(size=count)
    side = [np.full(20_000, score) for score in scores]
    alone = gap([np.zeros(20_000)], side, seed=0)
    assert alone.var() == pytest.approx(scores.var(ddof=1) / count, rel=0.05)
    assert alone.mean() == pytest.approx(-scores.mean(), abs=0.03)
    assert gap(side, side, seed=0).var() == pytest.approx(2 * alone.var(), rel=0.05)


def test_about_95_of_100_intervals_hold_the_difference_to_a_method_that_draws() -> None:
    """Ten draws that scatter far more widely than the items: of intervals over items alone, 5 in 100 would."""
    rng = np.random.default_rng(0)
    held = []
    for trial in range(300):
        ours = rng.normal(size=80)
        several = [ours + rng.normal(size=80) / 10 + 0.3 * rng.normal() for _ in range(10)]
        found = difference(
            Items((part("mean", ours),)), [Items((part("mean", one),)) for one in several], seed=trial, rounds=300
        )
        held.append(found[0] < 0 < found[1])
    assert 0.88 <= np.mean(held) <= 0.98


def test_a_model_beside_itself_differs_by_nothing() -> None:
    for one in parts().values():
        assert difference(Items((one,)), Items((one,)), seed=0, rounds=ROUNDS) == (0, 0)


def test_other_items_are_refused() -> None:
    one = Items((parts()["mean"],))
    for other in (Items((part("mean", np.arange(37.0), identity="0" * 64),)), Items(one.parts * 2)):
        with pytest.raises(ValueError, match="found scores of other items"):
            difference(one, other, seed=0)
    with pytest.raises(ValueError, match="no items on one side"):
        difference(one, [], seed=0)


def test_the_seed_and_the_items_decide_the_draws() -> None:
    one = Items((parts()["ties in gold"],))
    assert interval(one, seed=3, rounds=ROUNDS) == interval(one, seed=3, rounds=ROUNDS)
    assert interval(one, seed=3, rounds=ROUNDS) != interval(one, seed=4, rounds=ROUNDS)


def test_a_wider_level_is_wider() -> None:
    one = Items((parts()["mean"],))
    narrow, wide = (interval(one, seed=0, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < 100 * one.score() < narrow[1] < wide[1]


def test_rounds_without_a_score_are_left_out() -> None:
    """Two pairs drawn alike have no correlation."""
    pair = Items((part("spearman", [1, 2], [1, 2]),))
    scores = resampled(pair, seed=0, rounds=200)
    assert 0.3 < np.isnan(scores).mean() < 0.7
    assert interval(pair, seed=0, rounds=200) == (100, 100)
    assert np.isnan(interval(Items((part("spearman", [1], [1]),)), seed=0, rounds=9)).all()


def test_no_positive_drawn_is_zero_as_in_sklearn() -> None:
    one = part("precision", [[3, 1, 2]], [1, 0, 0])
    scores = resampled(Items((one,)), seed=0, rounds=200)
    assert set(np.unique(scores)) == {0, 100}
    assert 0.2 < (scores == 0).mean() < 0.4  # (2/3)^3 = 0.30


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    """Of the mean of an exponential, and of a correlation of 0.6 between normals (Spearman's 0.5826)."""
    rng = np.random.default_rng(0)
    means, correlations = [], []
    for trial in range(200):
        low, high = interval(Items((part("mean", rng.exponential(size=150)),)), seed=trial, rounds=400)
        means.append(low < 100 < high)
        x = rng.normal(size=150)
        y = 0.6 * x + 0.8 * rng.normal(size=150)
        low, high = interval(Items((part("spearman", x, y),)), seed=trial, rounds=400)
        correlations.append(low < 100 * 6 / np.pi * np.arcsin(0.3) < high)
    assert 0.89 <= np.mean(means) <= 0.99
    assert 0.89 <= np.mean(correlations) <= 0.99
