"""Nearest rows: exact, of equally near ones the first, and rows that repeat an earlier one."""

import numpy as np
import pytest
import torch

from matryoshka_text.rotation.neighbours import distinct_rows, nearest, nearest_rows


@pytest.mark.parametrize("block", [1, 2, 5, 64])
def test_of_equally_near_rows_the_first_is_taken(block: int) -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 1.0], [1.0, -0.0]])
    found = list(nearest(vectors, 5, block=block))
    assert found[0] == ([5, 1, 3, 4, 2], [1.0, 0.0, 0.0, 0.0, -1.0])
    assert found[1] == ([4, 0, 2, 5, 3], [1.0, 0.0, 0.0, 0.0, -1.0])


@pytest.mark.parametrize("block", [3, 50, 1024])
def test_many_equally_near_rows_are_taken_as_a_stable_sort_does(block: int) -> None:
    numbers = torch.randint(-1, 2, (400, 4), generator=torch.Generator().manual_seed(0)).float()
    vectors = torch.nn.functional.normalize(numbers[numbers.any(dim=1)], dim=1)
    full = (vectors @ vectors.T).clamp(-1, 1).fill_diagonal_(-9)
    expected = full.sort(dim=1, descending=True, stable=True).indices[:, :5]
    assert [others for others, _ in nearest(vectors, 5, block=block)] == expected.tolist()


def test_many_vectors_in_blocks_of_both_sides_against_float64() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(300, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    full = vectors.double().numpy() @ vectors.double().numpy().T
    np.fill_diagonal(full, -9)
    expected = np.argsort(-full, axis=1)[:, :4]
    found = list(nearest(vectors, 4, block=7))  # 112 columns at a time
    np.testing.assert_array_equal([others for others, _ in found], expected)
    np.testing.assert_allclose(
        [cosines for _, cosines in found], np.take_along_axis(full, expected, 1), rtol=0, atol=1e-6
    )
    assert torch.equal(nearest_rows(vectors, 4, block=7), torch.tensor(expected))


@pytest.mark.parametrize("block", [1, 4, 64])
def test_of_rows_that_repeat_the_first_is_kept(block: int) -> None:
    different = torch.nn.functional.normalize(torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    order = torch.tensor([0, 1, 0, 2, 1, 1, 3, *range(4, 20), 0, 19])
    noise = 1e-7 * torch.randn(len(order), 8, generator=torch.Generator().manual_seed(1))
    assert distinct_rows(different[order] + noise, block=block).tolist() == [0, 1, 3, 6, *range(7, 23)]
