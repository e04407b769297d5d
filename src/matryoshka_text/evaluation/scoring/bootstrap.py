"""Paired bootstrap intervals of scores (Efron and Tibshirani 1993, chapter 13: percentile intervals).

The items are drawn again, with replacement, as many as there are, and the score computed from those drawn. What is
drawn depends on the seed and on what the items are, never on their scores: two models get the same draws, so that
differences pair up. Subsets (languages) are drawn each for itself. Of a method that draws, the draws are drawn again
with the items.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float64

from matryoshka_text.evaluation.scoring.items import Items, Part

__all__ = ["ROUNDS", "bounds", "difference", "gap", "interval", "resampled"]

ROUNDS = 1000
# Cells of the table rounds x items that is held at once; five such tables of float64 are 40 MB.
_CELLS = 800_000

Counts = Float64[np.ndarray, "rounds n"]
Scores = Float64[np.ndarray, " rounds"]


def interval(items: Items, *, seed: int, rounds: int = ROUNDS, level: float = 0.95) -> tuple[float, float]:
    """Lower and upper bound of the score, in points (x 100)."""
    return bounds(resampled(items, seed=seed, rounds=rounds), level)


def difference(
    ours: Items | Sequence[Items],
    theirs: Items | Sequence[Items],
    *,
    seed: int,
    rounds: int = ROUNDS,
    level: float = 0.95,
) -> tuple[float, float]:
    """Bounds of our score minus theirs, in points, both from the same items drawn.

    Of several (a method's draws): see `gap`. ValueError if the items are not the same.
    """
    left, right = ([one] if isinstance(one, Items) else list(one) for one in (ours, theirs))
    if not left or not right:
        raise ValueError("found no items on one side; allowed: one Items or several, on both")
    for one in (*left, *right):
        if not left[0].pairs_with(one):
            raise ValueError("found scores of other items (pairs, queries or texts); only those of the same pair up")
    scores = [[resampled(one, seed=seed, rounds=rounds) for one in side] for side in (left, right)]
    return bounds(gap(*scores, seed=seed), level)


def gap(ours: Sequence[Scores], theirs: Sequence[Scores], *, seed: int) -> Scores:
    """Our mean score minus theirs in each round, given the scores of every draw (of a method without draws: the one).

    Where a side has k draws, k - 1 of them are drawn again in each round, with replacement: their mean varies as that
    of k draws does, while the variance of k drawn again is (k - 1) / k of it (Rao and Wu 1988, "Resampling inference
    with complex survey data"). Which ones depends only on the seed and k: a draw counts alike on every task.
    The bounds of very few draws reach no further than the draws do: of three, as far as the lowest and the highest.
    """
    both = len(ours) > 1 and len(theirs) > 1
    return _mean_of_draws(ours, seed, 1) - _mean_of_draws(theirs, seed, 2 if both else 1)


def _mean_of_draws(draws: Sequence[Scores], seed: int, stream: int) -> Scores:
    count = len(draws)
    if count == 1:
        return draws[0]
    table = np.stack(draws, axis=1)
    chosen = np.random.default_rng([seed, count, stream]).integers(0, count, size=(len(table), count - 1))
    return np.asarray(np.take_along_axis(table, chosen, axis=1).mean(axis=1))


def resampled(items: Items, *, seed: int, rounds: int = ROUNDS) -> Scores:
    """The score in points in each of the rounds; NaN in one where it is not defined (a correlation of equal values)."""
    return 100 * np.mean([_part(part, seed, rounds) for part in items.parts], axis=0)


def bounds(scores: Scores, level: float = 0.95) -> tuple[float, float]:
    """The percentiles that leave out (1 - level) / 2 on either side; rounds that gave no score are not counted."""
    tail = 50 * (1 - level)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN: the bounds are NaN, which says it
        low, high = np.nanpercentile(scores, [tail, 100 - tail])
    return float(low), float(high)


def _part(part: Part, seed: int, rounds: int) -> Scores:
    statistic = {"mean": _mean, "spearman": _spearman, "precision": _precision}[part.kind](part)
    generator = np.random.default_rng([seed, int(part.identity[:16], 16)])
    return np.concatenate([statistic(counts) for counts in _draws(generator, part.values.shape[1], rounds)])


def _draws(generator: np.random.Generator, n: int, rounds: int) -> Iterator[Counts]:
    """How often each of `n` items was drawn in each round, a table at a time."""
    step = max(1, _CELLS // n)
    for start in range(0, rounds, step):
        count = min(step, rounds - start)
        # Four times as fast as `multinomial`, which draws a binomial for each item.
        drawn = generator.integers(0, n, size=(count, n), dtype=np.int32)
        yield np.stack([np.bincount(one, minlength=n) for one in drawn]).astype(np.float64)


def _mean(part: Part) -> Callable[[Counts], Scores]:
    values = part.values[0]
    return lambda counts: counts @ values / len(values)


def _spearman(part: Part) -> Callable[[Counts], Scores]:
    """Pearson's correlation of mid-ranks, those of an item drawn w times and sorted as w equal ones.

    Items count in the order of their gold scores, which is the same for every model.
    """
    assert part.gold is not None
    by_gold = np.argsort(part.gold, kind="stable")
    gold, values = part.gold[by_gold], part.values[0][by_gold]
    order = np.argsort(values, kind="stable")
    ours, theirs = _groups(values[order]), _groups(gold)
    group_of, gold_group_of = _numbers(ours, len(gold)), _numbers(theirs, len(gold))[order]

    def statistic(counts: Counts) -> Scores:
        weights = counts[:, order]
        x = _mid_ranks(weights, ours)
        x = x if len(ours) == len(gold) else x[:, group_of]
        y = _mid_ranks(counts, theirs)[:, gold_group_of]
        xy, xx = (np.einsum("ri,ri->r", weights * x, other) for other in (y, x))
        yy = np.einsum("ri,ri->r", weights * y, y)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where((xx > 0) & (yy > 0), xy / np.sqrt(xx * yy), np.nan)

    return statistic


def _groups(ordered: Float64[np.ndarray, " n"]) -> np.ndarray:
    """Where each run of equal values starts."""
    return np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])


def _numbers(starts: np.ndarray, n: int) -> np.ndarray:
    """The number of the run that each of the `n` sorted values is in."""
    return np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, n]))


def _mid_ranks(weights: Counts, starts: np.ndarray) -> Float64[np.ndarray, "rounds groups"]:
    """The mean rank in each run, less the mean of all ranks."""
    n = weights.shape[1]
    within = weights if len(starts) == n else np.add.reduceat(weights, starts, axis=1)
    ranks = np.cumsum(within, axis=1)
    ranks -= within / 2
    ranks -= n / 2
    return ranks


def _precision(part: Part) -> Callable[[Counts], Scores]:
    """The highest of the average precisions: sum over thresholds of the gain in recall x precision, as in sklearn."""
    assert part.gold is not None
    each = [_one_precision(row, part.gold) for row in _different(part.values)]
    return lambda counts: np.max([one(counts) for one in each], axis=0)


def _one_precision(values: Float64[np.ndarray, " n"], gold: Float64[np.ndarray, " n"]) -> Callable[[Counts], Scores]:
    """Only positives gain recall; each at the precision where the items as similar as itself are all found."""
    order = np.argsort(-values, kind="stable")
    starts = _groups(values[order])
    group_of = _numbers(starts, len(order))
    last = np.r_[starts[1:], len(order)] - 1
    positives = np.flatnonzero(gold[order] == 1)
    among = np.searchsorted(positives, last[group_of[positives]], side="right") - 1

    def statistic(counts: Counts) -> Scores:
        weights = counts[:, order]
        hits = weights[:, positives]
        found = np.cumsum(weights, axis=1, out=weights)[:, last[group_of[positives]]]
        right = np.cumsum(hits, axis=1)
        gained = np.einsum("ri,ri->r", hits, right[:, among] / np.maximum(found, 1))
        # No positive drawn: 0, as in sklearn.
        return gained / np.maximum(hits.sum(axis=1), 1)

    return statistic


def _different(rows: Float64[np.ndarray, "k n"]) -> list[np.ndarray]:
    """The rows without those that rank every item as another does: cosine, dot and distance of unit vectors mostly."""
    ranks = [np.unique(row, return_inverse=True)[1] for row in rows]
    return [row for at, row in enumerate(rows) if not any(np.array_equal(ranks[at], one) for one in ranks[:at])]
