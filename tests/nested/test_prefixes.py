import torch

from matryoshka_text.nested.prefixes import blocks, inverse_norms, unit_prefix


def test_blocks_are_the_columns_between_two_dims():
    assert list(blocks((2, 3, 7))) == [slice(0, 2), slice(2, 3), slice(3, 7)]
    assert list(blocks((5,))) == [slice(0, 5)]


def test_inverse_norms_of_every_prefix():
    vectors = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0], [1e-13, 0.0, 0.0]])
    found = inverse_norms(vectors, (1, 2, 3))
    torch.testing.assert_close(found[:, 0], torch.tensor([1 / 3, 1 / 5, 1 / 5]))
    assert found[:, 1].tolist() == [0.0, 0.0, 0.5]
    assert found[:, 2:].abs().max() == 0


def test_unit_prefix_leaves_zeros_and_their_gradient_at_zero():
    vectors = torch.tensor([[3.0, 4.0, 9.0], [0.0, 0.0, 2.0]], requires_grad=True)
    unit = unit_prefix(vectors, 2)
    torch.testing.assert_close(unit, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    unit.sum().backward()
    assert vectors.grad.isfinite().all()
    assert (vectors.grad[1] == 0).all()
