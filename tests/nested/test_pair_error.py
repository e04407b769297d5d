import pytest
import torch

from matryoshka_text.nested import NestedLoss, nested_pair_error


def case(p=5, d=6, dtype=torch.float64):
    make = torch.Generator().manual_seed(0)
    first, second = (torch.randn(p, d, generator=make, dtype=torch.float64).to(dtype).requires_grad_() for _ in "ab")
    return first, second, torch.linspace(-0.2, 0.9, p, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dims", [(2, 3, 6), (1, 2, 3, 4, 5, 6), (6,), (4,)])
def test_equals_the_loop_written_definition(oracle, agree, dims):
    first, second, target = case()
    loss = nested_pair_error(first, second, target, dims)
    assert isinstance(loss, NestedLoss)
    assert not loss.per_dim.requires_grad
    agree(loss, oracle.pair_error(first, second, target, dims), (first, second))


def test_learned_weights_and_denominator(oracle, agree):
    first, second, target = case()
    weights = torch.tensor([0.5, 3.0], dtype=torch.float64, requires_grad=True)
    loss = nested_pair_error(first, second, target, (2, 6), weights=weights, denominator=11)
    expected = oracle.pair_error(first, second, target, (2, 6), weights=weights, denominator=11)
    agree(loss, expected, (first, second, weights))


def test_gradcheck():
    first, second, target = case(3, 4)
    assert torch.autograd.gradcheck(lambda a, b: nested_pair_error(a, b, target, (1, 2, 4)).total, (first, second))


def test_scaling_a_row_changes_nothing_and_the_gradient_is_orthogonal():
    first, second, target = case()
    loss = nested_pair_error(first, second, target, (1, 6))
    torch.testing.assert_close(nested_pair_error(first * 9, second * 0.1, target, (1, 6)).per_dim, loss.per_dim)
    (gradient,) = torch.autograd.grad(loss.total, first)
    along = (gradient * first).sum(1)
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


def test_rows_of_zeros_have_cosine_zero_and_no_gradient(oracle, agree):
    first, second, target = case()
    with torch.no_grad():
        first[1], second[2, :2] = 0.0, 0.0
    loss = nested_pair_error(first, second, target, (2, 6))
    agree(loss, oracle.pair_error(first, second, target, (2, 6)), (first, second))
    gradient = torch.autograd.grad(nested_pair_error(first, second, target, (2, 6)).total, first)[0]
    assert (gradient[1] == 0).all()


@pytest.mark.parametrize("denominator", [None, 0, 4])
def test_no_pairs_give_zero(denominator):
    first, second, target = case(p=0)
    loss = nested_pair_error(first, second, target, (2, 6), denominator=denominator)
    assert loss.total == 0
    assert (loss.per_dim == 0).all()
    assert torch.autograd.grad(loss.total, first)[0].shape == (0, 6)


def test_halves_with_the_global_count_sum_to_the_whole():
    first, second, target = case(p=7)
    whole = nested_pair_error(first, second, target, (2, 6))
    parts = [
        nested_pair_error(first[part], second[part], target[part], (2, 6), denominator=7)
        for part in (slice(0, 3), slice(3, 7))
    ]
    torch.testing.assert_close(sum(p.per_dim for p in parts), whole.per_dim)
    torch.testing.assert_close(sum(p.total for p in parts), whole.total)
    torch.testing.assert_close(
        torch.autograd.grad(sum(p.total for p in parts), first), torch.autograd.grad(whole.total, first)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_float32(dtype):
    first, second, target = case(dtype=dtype)
    loss = nested_pair_error(first, second, target, (2, 6))
    assert loss.total.dtype == torch.float32
    assert torch.equal(loss.total, nested_pair_error(first.float(), second.float(), target.float(), (2, 6)).total)
    assert torch.autograd.grad(loss.total, first)[0].dtype == dtype


def test_autocast_does_not_reach_inside():
    first, second, target = case(dtype=torch.float32)
    outside = nested_pair_error(first, second, target, (2, 6)).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nested_pair_error(first, second, target, (2, 6)).total, outside)


def test_no_gradient_reaches_the_target():
    first, second, target = case()
    target.requires_grad_()
    total = nested_pair_error(first, second, target, (2, 6)).total
    assert torch.autograd.grad(total, target, allow_unused=True) == (None,)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student_second": torch.zeros(4, 6)}, r"student_second has shape \[4, 6\]; allowed is \[5, 6\]"),
        ({"target": torch.zeros(5, 1)}, r"target has shape \[5, 1\]; allowed is \[5\]"),
        ({"target": torch.zeros(5, dtype=torch.int64)}, r"target holds torch\.int64; allowed are floating-point"),
        ({"dims": (6, 2)}, r"dims\[1\] is 2 "),
        ({"weights": (1.0,)}, r"weights has shape \[1\]"),
        ({"denominator": -1}, r"denominator is -1\.0 for 5 rows"),
    ],
)
def test_bad_arguments_are_refused_by_name(change, message):
    names = ("student_first", "student_second", "target")
    given = {**dict(zip(names, case(dtype=torch.float32), strict=True)), "dims": (2, 6), **change}
    with pytest.raises(ValueError, match=message):
        nested_pair_error(**given)
