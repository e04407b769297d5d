"""Starting matrices: principal axes within sources, checked against numpy."""

import numpy as np
import torch

from matryoshka_text.rotation.start import principal_axes, starting_matrix, within_source_covariance


def test_covariance_is_the_mean_of_each_sources_own() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(30, 5, generator=generator), torch.randn(90, 5, generator=generator) + 3
    expected = (np.cov(one.numpy().T, bias=True) + np.cov(two.numpy().T, bias=True)) / 2
    np.testing.assert_allclose(within_source_covariance([one, two]).numpy(), expected, atol=1e-6)


def test_axes_come_by_falling_variance_with_a_settled_sign() -> None:
    covariance = torch.diag(torch.tensor([1.0, 5.0, 3.0], dtype=torch.float64))
    axes = principal_axes(covariance)
    assert torch.equal(axes.round(), torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64))
    assert torch.equal(axes, principal_axes(covariance))


def test_what_tells_sources_apart_comes_first_only_in_the_pooled_axes() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.1, 1.0, 0.5])
    sources = [torch.randn(500, 3, generator=generator) * spread + torch.tensor([c, 0, 0]) for c in (-4.0, 4.0)]
    assert starting_matrix(sources, "pooled")[:, 0].abs().argmax() == 0
    assert starting_matrix(sources, "within_source")[:, 0].abs().argmax() == 1
    assert torch.equal(starting_matrix(sources, "identity"), torch.eye(3, dtype=torch.float64))
