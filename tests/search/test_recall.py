"""Recall from ranks."""

import numpy as np

from matryoshka_text.search.recall import per_query, recall_interval, sufficient


def test_per_query_counts_ranks_below() -> None:
    ranks = np.array([[0, 5, 9], [2, 2, 30]])
    assert per_query(ranks, 6).tolist() == [2 / 3, 2 / 3]
    assert per_query(ranks, 31).tolist() == [1, 1]


def test_the_interval_holds_the_mean_of_most_samples() -> None:
    draw = np.random.default_rng(0)
    truth, held = 0.9, 0
    for seed in range(200):
        low, high = recall_interval((draw.random(300) < truth).astype(float), seed)
        held += low <= truth <= high
    assert 0.9 <= held / 200 <= 0.99


def test_sufficient_is_the_shortest_length_of_all() -> None:
    ranks = np.random.default_rng(1).exponential(40, (200, 10)).astype(np.int64)
    length, low = sufficient(ranks, 0.95, least=10, most=2000)
    assert recall_interval(per_query(ranks, length))[0] == low >= 0.95
    assert recall_interval(per_query(ranks, length - 1))[0] < 0.95


def test_none_is_long_enough() -> None:
    assert sufficient(np.full((50, 10), 999), 0.9, least=10, most=999) is None
    assert sufficient(np.zeros((50, 10), dtype=int), 1.0, least=10, most=999) == (10, 1.0)
