import math

import pytest
import torch

from matryoshka_text.heads.transform import NestedTransform

DIMS = (3, 5, 8)


def _shaken(inputs: int = 8, dims: tuple[int, ...] = DIMS, dtype: torch.dtype = torch.float64) -> NestedTransform:
    """A transform whose every parameter matters, those outside the blocks too."""
    transform = NestedTransform(inputs, dims, seed=3).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return transform


def _oracle(transform: NestedTransform, hidden: torch.Tensor) -> list[list[float]]:
    weight, bias = transform.weight.tolist(), transform.bias.tolist()
    gain, offset = transform.gain.tolist(), transform.offset.tolist()
    starts = (0, *transform.dims[:-1])
    found = []
    for row in hidden.tolist():
        active = []
        for start, end in zip(starts, transform.dims, strict=True):
            for o in range(start, end):
                before = bias[o] + sum(weight[o][i] * row[i] for i in range(min(end, len(row))))
                active.append(0.5 * before * (1 + math.erf(before / math.sqrt(2))))
        out = []
        for start, end in zip(starts, transform.dims, strict=True):
            mean = sum(active[:end]) / end
            variance = sum((a - mean) ** 2 for a in active[:end]) / end
            out += [(active[c] - mean) / math.sqrt(variance + 1e-5) * gain[c] + offset[c] for c in range(start, end)]
        found.append(out)
    return found


@pytest.mark.parametrize("inputs", [8, 12, 6])
def test_the_outputs_are_those_of_the_formula(inputs: int) -> None:
    transform = _shaken(inputs)
    hidden = torch.randn(4, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor(_oracle(transform, hidden), dtype=torch.float64)
    torch.testing.assert_close(transform(hidden), expected, atol=1e-10, rtol=1e-10)


def test_activations_far_from_zero_keep_their_variance() -> None:
    transform = _shaken(dtype=torch.float32)
    with torch.no_grad():
        transform.bias.fill_(3000.0)
    hidden = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor(_oracle(transform, hidden))
    torch.testing.assert_close(transform(hidden), expected, atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("dim", DIMS)
def test_a_prefix_does_not_see_the_tail_in_value_or_gradient(dim: int) -> None:
    transform = _shaken(12)
    hidden = torch.randn(4, 12, dtype=torch.float64, requires_grad=True)
    other = hidden.detach().clone()
    other[:, dim:] = 100.0
    assert torch.equal(transform(hidden)[:, :dim], transform(other)[:, :dim])
    (gradient,) = torch.autograd.grad(transform(hidden)[:, :dim].square().sum(), hidden)
    assert not gradient[:, dim:].any()
    assert gradient[:, :dim].abs().min() > 0


@pytest.mark.parametrize("inputs", [8, 12, 6])
@pytest.mark.parametrize("dim", DIMS)
def test_the_truncated_transform_is_smaller_and_gives_the_prefix(inputs: int, dim: int) -> None:
    transform = _shaken(inputs).eval()
    small = transform.truncated(dim)
    assert small.weight.shape == (dim, min(dim, inputs))
    assert small.dims == DIMS[: DIMS.index(dim) + 1]
    assert not small.training
    assert small.weight.data_ptr() != transform.weight.data_ptr()
    hidden = torch.randn(4, inputs, dtype=torch.float64)
    torch.testing.assert_close(small(hidden[:, :dim]), transform(hidden)[:, :dim], atol=1e-12, rtol=1e-12)
    assert torch.equal(small(hidden), small(hidden[:, :dim]))


def test_only_a_prefix_length_can_be_cut_out() -> None:
    with pytest.raises(ValueError, match=r"dim is 4; allowed are the prefix lengths of this transform, \(3, 5, 8\)"):
        _shaken().truncated(4)


def test_gradients() -> None:
    transform = _shaken(6)
    hidden = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    parameters = [parameter.detach().clone().requires_grad_() for parameter in transform.parameters()]
    names = [name for name, _ in transform.named_parameters()]

    def outputs(rows: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(transform, dict(zip(names, values, strict=True)), (rows,))

    assert torch.autograd.gradcheck(outputs, (hidden, *parameters))


def test_a_weight_outside_the_blocks_gets_no_gradient() -> None:
    transform = _shaken(8)
    transform(torch.randn(4, 8, dtype=torch.float64)).square().sum().backward()
    assert transform.weight.grad is not None
    outside = torch.tensor([[column >= end for column in range(8)] for end in (3, 3, 3, 5, 5, 8, 8, 8)])
    assert not transform.weight.grad[outside].any()
    assert transform.weight.grad[~outside].abs().min() > 0


def test_it_starts_near_the_identity_from_its_seed_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = (NestedTransform(8, DIMS, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.weight, same.weight) and not torch.equal(one.weight, other.weight)
    assert (one.weight - torch.eye(8)).abs().max() < 0.2
    assert not one.weight[:3, 3:].any() and not one.weight[3:5, 5:].any()


def test_half_precision_is_summed_in_single() -> None:
    transform = _shaken(dtype=torch.float32)
    hidden = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = transform(hidden)
    assert found.dtype == torch.float32
    assert (found - transform(hidden)).abs().max() < 0.1


@pytest.mark.parametrize(
    ("dims", "message"),
    [((1, 8), r"dims\[0\] is 1, and the norm of a single coordinate"), ((4, 4), r"dims\[1\] is 4"), ((), "empty")],
)
def test_dims_that_cannot_be(dims: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NestedTransform(8, dims)
