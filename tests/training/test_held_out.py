import numpy as np
import pytest

from matryoshka_text.training.held_out import retrieval_score, similarity_score


def test_similarity_is_spearman_of_each_prefix() -> None:
    gold = np.asarray([0.0, 1.0, 2.0, 3.0])
    angle = np.asarray([3.0, 2.0, 1.0, 0.0])
    first = np.tile([1.0, 0.0, 5.0], (4, 1))
    second = np.stack([np.cos(angle), np.sin(angle), np.asarray([9.0, -9.0, 9.0, -9.0])], 1)
    two, three = similarity_score(first, second, gold, (2, 3))
    assert two == pytest.approx(100)
    assert three < 50


def test_retrieval_is_the_mean_reciprocal_rank_cut_at_ten() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(40, 6))
    second = first + rng.normal(size=(40, 6))
    for dim, score in zip((2, 6), retrieval_score(first, second, (2, 6), block=7), strict=True):
        a = first[:, :dim] / np.linalg.norm(first[:, :dim], axis=1, keepdims=True)
        b = second[:, :dim] / np.linalg.norm(second[:, :dim], axis=1, keepdims=True)
        total = 0.0
        for i in range(40):
            rank = 1 + sum(float(a[i] @ b[j]) >= float(a[i] @ b[i]) for j in range(40) if j != i)
            total += 1 / rank if rank <= 10 else 0
        assert score == pytest.approx(100 * total / 40)


def test_a_model_that_gives_one_vector_for_everything_scores_nothing() -> None:
    same = np.ones((50, 4))
    assert retrieval_score(same, same, (2, 4)) == [0.0, 0.0]
