import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from matryoshka_text.nested import NestedLoss, nested_cross_entropy

BACKENDS = ("reference", "chunked")
pytestmark = pytest.mark.usefixtures("small_tiles")
both = pytest.mark.parametrize("backend", BACKENDS)


def case(b=5, n=7, d=6, dtype=torch.float64, seed=0):
    make = torch.Generator().manual_seed(seed)
    query = torch.randn(b, d, generator=make, dtype=torch.float64).to(dtype).requires_grad_()
    candidate = torch.randn(n, d, generator=make, dtype=torch.float64).to(dtype).requires_grad_()
    return query, candidate, torch.randint(0, max(n, 1), (b,), generator=make)


@both
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("b", "n", "d", "dims"),
    [
        (5, 7, 6, (2, 3, 6)),
        (7, 5, 6, (1, 2, 3, 4, 5, 6)),
        (4, 4, 5, (5,)),
        (4, 9, 5, (2,)),
        (1, 1, 3, (1, 3)),
        (6, 11, 7, (3, 5)),
    ],
    ids=["odd", "width-1 blocks", "one dim", "one short dim", "one row", "last dim below the width"],
)
def test_equals_the_loop_written_definition(oracle, agree, backend, normalize, b, n, d, dims):
    query, candidate, target = case(b, n, d)
    loss = nested_cross_entropy(query, candidate, target, dims=dims, normalize=normalize, backend=backend)
    assert isinstance(loss, NestedLoss)
    assert not loss.per_dim.requires_grad
    agree(loss, oracle.cross_entropy(query, candidate, target, dims, normalize=normalize), (query, candidate))


@both
@pytest.mark.parametrize("normalize", [True, False])
def test_learned_weights_scale_and_bias(oracle, agree, backend, normalize):
    query, candidate, target = case()
    weights = torch.tensor([0.5, 1.5, 2.0], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    bias = torch.linspace(-1, 1, 7, dtype=torch.float64).requires_grad_()
    settings = {"weights": weights, "scale": scale, "normalize": normalize, "bias": bias}
    loss = nested_cross_entropy(query, candidate, target, (1, 4, 6), **settings, backend=backend)
    expected = oracle.cross_entropy(query, candidate, target, (1, 4, 6), **settings)
    agree(loss, expected, (query, candidate, weights, scale, bias))


@both
@pytest.mark.parametrize("normalize", [True, False])
def test_only_the_scalars_need_a_gradient(oracle, agree, backend, normalize):
    query, candidate, target = case()
    weights = torch.ones(2, dtype=torch.float64, requires_grad=True)
    scale = torch.full((1,), 2.0, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    settings = {"weights": weights, "scale": scale, "normalize": normalize, "bias": bias}
    fixed = (query.detach(), candidate.detach(), target, (2, 6))
    loss = nested_cross_entropy(*fixed, **settings, backend=backend)
    agree(loss, oracle.cross_entropy(*fixed, **{**settings, "scale": scale[0]}), (weights, scale, bias))


def exclusions(kind, b, n, target):
    make = torch.Generator().manual_seed(1)
    mask = torch.rand(b, n, generator=make) < 0.5
    ids = {
        "query_ids": torch.randint(0, 3, (b,), generator=make),
        "candidate_ids": torch.randint(0, 3, (n,), generator=make),
    }
    if kind == "only the target left":
        return {"mask": torch.ones(b, n, dtype=torch.bool).scatter_(1, target[:, None], False)}
    return {"mask": {"mask": mask}, "ids": ids, "both": {"mask": mask, **ids}}[kind]


@both
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("kind", ["mask", "ids", "both", "only the target left"])
def test_taken_out_candidates(oracle, agree, backend, normalize, with_bias, kind):
    query, candidate, target = case()
    bias = torch.linspace(-1, 1, 7, dtype=torch.float64) if with_bias else None
    settings = {"normalize": normalize, "bias": bias, **exclusions(kind, 5, 7, target)}
    loss = nested_cross_entropy(query, candidate, target, (2, 6), **settings, backend=backend)
    agree(loss, oracle.cross_entropy(query, candidate, target, (2, 6), **settings), (query, candidate))
    if kind == "only the target left":
        assert loss.per_dim.abs().max() < 1e-12


@both
def test_the_target_itself_is_never_taken_out(backend):
    query, candidate, target = case()
    everything = torch.ones(5, 7, dtype=torch.bool)
    same = {"query_ids": torch.zeros(5, dtype=torch.int64), "candidate_ids": torch.zeros(7, dtype=torch.int64)}
    for settings in ({"mask": everything}, same):
        loss = nested_cross_entropy(query, candidate, target, (2, 6), **settings, backend=backend)
        torch.testing.assert_close(loss.per_dim, torch.zeros(2, dtype=torch.float64))
    assert everything.all()  # the caller's mask is left as it was


@both
def test_duplicate_targets(oracle, agree, backend):
    query, candidate, _ = case()
    target = torch.tensor([3, 3, 3, 0, 3])
    loss = nested_cross_entropy(query, candidate, target, (2, 6), backend=backend)
    agree(loss, oracle.cross_entropy(query, candidate, target, (2, 6)), (query, candidate))


@pytest.mark.parametrize("normalize", [True, False])
def test_gradcheck(normalize):
    query, candidate, target = case(4, 5, 4)
    weights = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    bias = torch.linspace(-1, 1, 5, dtype=torch.float64).requires_grad_()

    def total(query, candidate, weights, scale, bias):
        ids = {"query_ids": torch.tensor([0, 1, 2, 3]), "candidate_ids": torch.tensor([3, 2, 9, 0, 1])}
        return nested_cross_entropy(
            query, candidate, target, (1, 2, 4), weights, scale, normalize, bias, **ids, backend="chunked"
        ).total

    assert torch.autograd.gradcheck(total, (query, candidate, weights, scale, bias))


@both
def test_scaling_a_row_changes_nothing_and_the_gradient_is_orthogonal(backend):
    query, candidate, target = case()
    lengthened = query.detach() * torch.tensor([0.1, 1.0, 7.0, 100.0, 0.5], dtype=torch.float64)[:, None]
    loss = nested_cross_entropy(query, candidate, target, (1, 2, 6), backend=backend)
    other = nested_cross_entropy(lengthened, candidate * 3, target, (1, 2, 6), backend=backend)
    torch.testing.assert_close(other.per_dim, loss.per_dim)
    for dim in (1, 2, 3, 6):
        total = nested_cross_entropy(query, candidate, target, (dim,), backend=backend).total
        for vectors, gradient in zip((query, candidate), torch.autograd.grad(total, (query, candidate)), strict=True):
            along = (vectors[:, :dim] * gradient[:, :dim]).sum(1)
            torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)
            assert (gradient[:, dim:] == 0).all()


@both
@pytest.mark.parametrize("scale", [60.0, 100.0, 1000.0])
def test_large_scales(oracle, agree, backend, scale):
    query, candidate, target = case(dtype=torch.float32)
    loss = nested_cross_entropy(query, candidate, target, (2, 3, 6), scale=scale, backend=backend)
    expected = oracle.cross_entropy(query, candidate, target, (2, 3, 6), scale=scale)
    agree(loss, expected, (query, candidate), rtol=2e-4, atol=2e-4)


@both
def test_a_loss_near_zero_keeps_its_digits(oracle, backend):
    query = torch.eye(4, 8)
    candidate = torch.eye(4, 8)
    loss = nested_cross_entropy(query, candidate, torch.arange(4), (8,), scale=12.0, backend=backend)
    expected, _ = oracle.cross_entropy(query, candidate, torch.arange(4), (8,), scale=12.0)
    assert expected < 3e-5
    torch.testing.assert_close(loss.total.double(), expected, rtol=1e-2, atol=0)


@both
def test_large_raw_logits(oracle, agree, backend):
    query, candidate, target = case(dtype=torch.float32)
    loss = nested_cross_entropy(query, candidate, target, (2, 6), scale=1e4, normalize=False, backend=backend)
    expected = oracle.cross_entropy(query, candidate, target, (2, 6), scale=1e4, normalize=False)
    agree(loss, expected, (query, candidate), rtol=1e-4, atol=1e-2)


@both
def test_rows_of_zeros_have_finite_loss_and_no_gradient(oracle, agree, backend):
    query, candidate, target = case()
    with torch.no_grad():
        query[1], candidate[2], candidate[3, :2] = 0.0, 0.0, 0.0
    loss = nested_cross_entropy(query, candidate, target, (2, 4, 6), backend=backend)
    agree(loss, oracle.cross_entropy(query, candidate, target, (2, 4, 6)), (query, candidate))
    of_query, of_candidate = torch.autograd.grad(
        nested_cross_entropy(query, candidate, target, (2, 4, 6), backend=backend).total, (query, candidate)
    )
    assert (of_query[1] == 0).all()
    assert (of_candidate[2] == 0).all()


@both
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("denominator", [None, 0, 12])
def test_no_rows_give_zero(backend, normalize, denominator):
    query, candidate, target = case(b=0)
    settings = {"normalize": normalize, "denominator": denominator, "backend": backend}
    loss = nested_cross_entropy(query, candidate, target, (2, 6), **settings)
    assert loss.total == 0
    assert (loss.per_dim == 0).all()
    of_query, of_candidate = torch.autograd.grad(loss.total, (query, candidate))
    assert of_query.shape == (0, 6)
    assert (of_candidate == 0).all()


@both
@pytest.mark.parametrize("normalize", [True, False])
def test_halves_with_the_global_count_sum_to_the_whole(backend, normalize):
    query, candidate, target = case(b=7)
    settings = {"dims": (2, 6), "weights": (0.5, 2.0), "normalize": normalize, "backend": backend}
    whole = nested_cross_entropy(query, candidate, target, **settings)
    halves = [
        nested_cross_entropy(query[part], candidate, target[part], **settings, denominator=7)
        for part in (slice(0, 2), slice(2, 7))
    ]
    summed = NestedLoss(*(sum(parts) for parts in zip(*halves, strict=True)))
    torch.testing.assert_close(summed.per_dim, whole.per_dim)
    leaves = (query, candidate)
    torch.testing.assert_close(
        torch.autograd.grad(summed.total, leaves), torch.autograd.grad(whole.total, leaves), rtol=1e-10, atol=1e-12
    )


def plain_loop(query, candidate, target, dims, scale, normalize):
    total = 0.0
    for m in dims:
        rows, columns = query[:, :m], candidate[:, :m]
        if normalize:
            rows, columns = F.normalize(rows), F.normalize(columns)
        total = total + F.cross_entropy(scale * (rows @ columns.T), target)
    return total


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("normalize", [True, False])
def test_half_precision_is_no_worse_than_the_plain_loop_in_it(backend, dtype, normalize):
    query, candidate, target = case(48, 80, 64, dtype=dtype)
    dims, scale = (8, 16, 32, 64), 20.0 if normalize else 1.0
    exact_leaves = [v.detach().double().requires_grad_() for v in (query, candidate)]
    exact = plain_loop(*exact_leaves, target, dims, scale, normalize)
    exact_gradients = torch.autograd.grad(exact, exact_leaves)
    loop = plain_loop(query, candidate, target, dims, scale, normalize)
    ours = nested_cross_entropy(query, candidate, target, dims, normalize=normalize, backend=backend).total
    assert ours.dtype == torch.float32
    assert abs(ours.double() - exact) <= abs(loop.double() - exact)
    ours_gradients, loop_gradients = (torch.autograd.grad(t, (query, candidate)) for t in (ours, loop))
    for ours_one, loop_one, exact_one in zip(ours_gradients, loop_gradients, exact_gradients, strict=True):
        assert ours_one.dtype == dtype
        assert (ours_one.double() - exact_one).norm() <= (loop_one.double() - exact_one).norm()


def test_half_precision_gradients_survive_through_the_loss_scale():
    query, candidate, target = case(dtype=torch.float16)
    tiny, large = 2.0**-30, 2.0**24
    loss = nested_cross_entropy(query, candidate, target, (2, 6), weights=(tiny, tiny), backend="chunked")
    scaled = torch.autograd.grad(loss.total * large, query)[0].double() / large / tiny
    plain = nested_cross_entropy(query.detach().double().requires_grad_(), candidate.double(), target, (2, 6))
    assert plain.total.isfinite()
    whole = torch.autograd.grad(nested_cross_entropy(query, candidate, target, (2, 6)).total, query)[0].double()
    torch.testing.assert_close(scaled, whole, rtol=2e-2, atol=1e-3)


@both
def test_autocast_does_not_reach_inside(backend):
    query, candidate, target = case(16, 24, 32, dtype=torch.float32)
    leaves = (query, candidate)
    outside = nested_cross_entropy(query, candidate, target, (8, 32), backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nested_cross_entropy(query, candidate, target, (8, 32), backend=backend)
    assert torch.equal(inside.total, outside.total)
    found = torch.autograd.grad(inside.total, leaves)
    for ours, theirs in zip(found, torch.autograd.grad(outside.total, leaves), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("normalize", [True, False])
def test_backends_agree_over_many_rows_and_tiles(monkeypatch, normalize):
    monkeypatch.setattr("matryoshka_text.nested.chunked.tile_rows", lambda columns, device: 50)
    query, candidate, target = case(203, 307, 96, dtype=torch.float32)
    scale = 20.0 if normalize else 0.1
    found = []
    for backend in BACKENDS:
        loss = nested_cross_entropy(
            query, candidate, target, (12, 24, 48, 96), scale=scale, normalize=normalize, backend=backend
        )
        found.append((loss.per_dim, *torch.autograd.grad(loss.total, (query, candidate))))
    for reference, chunked in zip(*found, strict=True):
        assert (chunked - reference).norm() <= 2e-6 * reference.norm()


@pytest.mark.parametrize("needs", list(itertools.product([True, False], repeat=2)))
def test_no_gradient_work_that_nobody_asked_for(watch, needs):
    query, candidate, target = case(b=3)
    query, candidate = (v.detach().requires_grad_(need) for v, need in zip((query, candidate), needs, strict=True))
    with watch() as seen:
        loss = nested_cross_entropy(query, candidate, target, (1, 2, 6), backend="chunked")
    assert seen.products == 3 * (1 + sum(needs))
    assert loss.total.requires_grad == any(needs)


def test_no_gradient_work_under_no_grad(watch):
    query, candidate, target = case(b=3)
    with_gradient = nested_cross_entropy(query, candidate, target, (1, 2, 6), backend="chunked")
    with torch.no_grad(), watch() as seen:
        loss = nested_cross_entropy(query, candidate, target, (1, 2, 6), backend="chunked")
    assert seen.products == 3
    assert not loss.total.requires_grad
    assert torch.equal(loss.total, with_gradient.total)


def test_backward_twice_gives_the_same_and_twice_differentiating_is_refused():
    query, candidate, target = case()
    total = nested_cross_entropy(query, candidate, target, (2, 6), backend="chunked").total
    once = torch.autograd.grad(total, query, retain_graph=True)[0].clone()
    assert torch.equal(torch.autograd.grad(total, query, retain_graph=True)[0], once)
    with pytest.raises(RuntimeError, match=r"can be differentiated once.*backend='reference'"):
        torch.autograd.grad(total, query, create_graph=True)


def test_auto_is_chunked_on_a_processor(saved_entries):
    query, candidate, target = case(32, 32, 2)
    automatic = saved_entries(lambda: nested_cross_entropy(query, candidate, target, (1, 2)).total)
    assert max(automatic) < 32 * 32
    by_name = nested_cross_entropy(query, candidate, target, (1, 2), backend="chunked")
    assert torch.equal(nested_cross_entropy(query, candidate, target, (1, 2)).total, by_name.total)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": ()}, r"dims is empty; allowed are integers from 1 to 6"),
        ({"dims": (0, 3)}, r"dims\[0\] is 0 .*allowed are integers from 1 to 6"),
        ({"dims": (3, 3)}, r"dims\[1\] is 3 .*each above the one before"),
        ({"dims": (4, 2)}, r"dims\[1\] is 2 "),
        ({"dims": (2, 7)}, r"dims\[1\] is 7 .*1 to 6"),
        ({"dims": (2.0, 6)}, r"dims\[0\] is 2\.0, no integer"),
        ({"dims": (True, 6)}, r"dims\[0\] is True, no integer"),
        ({"query": torch.zeros(5)}, r"query has shape \[5\]; allowed is \[any, any\]"),
        ({"query": torch.zeros(5, 6, dtype=torch.int64)}, r"query holds torch\.int64; allowed are floating-point"),
        ({"candidate": torch.zeros(7, 5)}, r"candidate has shape \[7, 5\]; allowed is \[any, 6\]"),
        ({"target": torch.zeros(4, dtype=torch.int64)}, r"target has shape \[4\]; allowed is \[5\]"),
        ({"target": torch.zeros(5)}, r"target holds torch\.float32; allowed are integers"),
        ({"target": torch.tensor([0, 1, 2, 3, 7])}, r"target spans 0 to 7; allowed are 0 to 6"),
        ({"target": torch.tensor([0, 1, 2, 3, -1])}, r"target spans -1 to 3; allowed are 0 to 6"),
        ({"weights": (1.0,)}, r"weights has shape \[1\]; allowed is one weight for each of the 2 dims"),
        ({"weights": (1.0, -1.0)}, r"weights are \[1\.0, -1\.0\]; allowed are finite numbers of at least 0"),
        ({"scale": 0.0}, r"scale is 0\.0; allowed is a finite number above 0"),
        ({"scale": float("nan")}, r"scale is nan"),
        ({"scale": torch.ones(2)}, r"scale has shape \[2\]; allowed is a single number"),
        ({"bias": torch.zeros(5)}, r"bias has shape \[5\]; allowed is \[7\]"),
        ({"mask": torch.zeros(5, 6, dtype=torch.bool)}, r"mask has shape \[5, 6\]; allowed is \[5, 7\]"),
        ({"mask": torch.zeros(5, 7)}, r"mask holds torch\.float32; allowed is torch\.bool"),
        ({"query_ids": torch.zeros(5, dtype=torch.int64)}, r"query_ids is given and candidate_ids is not"),
        ({"candidate_ids": torch.zeros(7, dtype=torch.int64)}, r"candidate_ids is given and query_ids is not"),
        (
            {"query_ids": torch.zeros(5), "candidate_ids": torch.zeros(7, dtype=torch.int64)},
            r"query_ids holds torch\.float32; allowed are integers",
        ),
        ({"denominator": 0}, r"denominator is 0\.0 for 5 rows; allowed is a finite number above 0"),
        ({"backend": "flash"}, r"backend is 'flash'; allowed are 'auto', 'reference', 'chunked', 'fused'"),
        ({"query": torch.zeros(5, 6, device="meta")}, r"candidate is on cpu; .* on meta"),
    ],
)
def test_bad_arguments_are_refused_by_name(change, message):
    query, candidate, target = case(dtype=torch.float32)
    given = {"query": query, "candidate": candidate, "target": target, "dims": (2, 6), **change}
    with pytest.raises(ValueError, match=message):
        nested_cross_entropy(**given)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_bias_of_minus_infinity_takes_a_candidate_out(normalize: bool) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(5, 6), torch.randn(7, 6)
    bias = torch.randn(7)
    bias[6] = -math.inf
    scale = torch.tensor(3.0)
    found = {}
    for backend in ("reference", "chunked"):
        leaves = [v.clone().requires_grad_() for v in (x, y, scale)]
        loss = nested_cross_entropy(
            leaves[0],
            leaves[1],
            torch.arange(5),
            (2, 6),
            scale=leaves[2],
            normalize=normalize,
            bias=bias,
            backend=backend,
        )
        found[backend] = [loss.total.detach(), *torch.autograd.grad(loss.total, leaves)]
    for ours, expected in zip(found["chunked"], found["reference"], strict=True):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_learned_scale_keeps_its_digits_beside_a_large_bias(normalize: bool) -> None:
    torch.manual_seed(0)
    x, y, bias = torch.randn(64, 8), torch.randn(300, 8), 30 * torch.randn(300)
    gradients = {}
    for dtype in (torch.float64, torch.float32):
        scale = torch.tensor(0.01, dtype=dtype, requires_grad=True)
        loss = nested_cross_entropy(
            x.to(dtype),
            y.to(dtype),
            torch.randint(0, 300, (64,), generator=torch.Generator().manual_seed(1)),
            (2, 8),
            scale=scale,
            normalize=normalize,
            bias=bias.to(dtype),
            backend="chunked" if dtype == torch.float32 else "reference",
        )
        gradients[dtype] = float(torch.autograd.grad(loss.total, scale)[0])
    assert gradients[torch.float32] == pytest.approx(gradients[torch.float64], rel=2e-6)


def test_a_unit_prefix_of_one_coordinate_has_no_gradient() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(9, 4, requires_grad=True), torch.randn(11, 4, requires_grad=True)
    loss = nested_cross_entropy(x, y, torch.arange(9), (1,), backend="chunked")
    assert float(loss.total.detach()) > 0
    for gradient in torch.autograd.grad(loss.total, (x, y)):
        assert not gradient.any()
