import numpy as np
import pytest
import torch

from matryoshka_text.rotation import neighbours_kept, smallest_dims


def _by_loop(vectors: np.ndarray, dim: int, rows: list[int], count: int, matrix: np.ndarray) -> float:
    def near(own: np.ndarray, row: int) -> set[int]:
        own = own / np.linalg.norm(own, axis=1, keepdims=True)
        cosines = {other: float(own[row] @ own[other]) for other in range(len(own)) if other != row}
        return set(sorted(cosines, key=cosines.__getitem__, reverse=True)[:count])

    turned = vectors @ matrix
    return float(np.mean([len(near(vectors, row) & near(turned[:, :dim], row)) / count for row in rows]))


@pytest.mark.parametrize("asked", [None, [3, 50, 7]])
@pytest.mark.parametrize("rotated", [False, True])
def test_shares_are_those_of_a_loop(asked: list[int] | None, rotated: bool) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 12)) * rng.uniform(0.5, 3, (60, 1))
    matrix = np.linalg.qr(rng.standard_normal((12, 12)))[0] if rotated else np.eye(12)
    found = neighbours_kept(
        torch.from_numpy(vectors),
        (2, 3, 6, 12),
        asked=None if asked is None else torch.tensor(asked),
        rotation=torch.from_numpy(matrix) if rotated else None,
        count=5,
    )
    rows = list(range(60)) if asked is None else asked
    expected = {dim: _by_loop(vectors, dim, rows, 5, matrix) for dim in (2, 3, 6, 12)}
    assert found == pytest.approx(expected)
    assert found[12] == pytest.approx(1)


def test_fewer_rows_than_neighbours() -> None:
    assert neighbours_kept(torch.randn(4, 6), (2, 6)) == {2: 1.0, 6: 1.0}


def test_the_smallest_dim_has_only_larger_ones_that_keep_as_much() -> None:
    kept = {8: 0.96, 16: 0.91, 32: 0.95, 64: 1.0}
    assert smallest_dims(kept) == {0.90: 8, 0.95: 32, 0.99: 64}
    assert smallest_dims({8: 0.2, 16: 0.5}, (0.9,)) == {0.9: None}
