"""The fused kernels: in Triton's interpreter where no GPU is at hand, compiled where one is."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from matryoshka_text.nested import choose_backend, nested_cross_entropy, nested_distillation

pytest.importorskip("triton", reason="triton is not installed: the fused kernels cannot run")

from matryoshka_text.nested import fused, fused_backward, fused_plan, fused_support
from matryoshka_text.nested.fused_packing import Layout, layout_of, pack
from matryoshka_text.nested.kernels import INTERPRETED

DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}

if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip("no GPU, and TRITON_INTERPRET is not set", allow_module_level=True)

both_readings = pytest.mark.parametrize("normalize", [True, False])
every_dtype = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=["float32", "float16", "bfloat16"])


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Tiles of 16 x 16 and a few of them a chunk and a split, so that small cases have several of each."""
    monkeypatch.setattr(fused_plan, "tiles_for", lambda dtype, b, n: fused_plan.Tiles(16, 16, 4, 2))
    monkeypatch.setattr(fused_backward, "SHARE_BYTES", 3 * 2 * 32 * 32)
    monkeypatch.setattr(fused, "_splits", lambda row_tiles, column_tiles, device: min(2, column_tiles))


def case(b=5, n=19, d=6, dtype=torch.float32, seed=0):
    make = torch.Generator().manual_seed(seed)
    query, candidate = (torch.randn(size, d, generator=make).to(DEVICE, dtype).requires_grad_() for size in (b, n))
    return query, candidate, torch.randint(0, max(n, 1), (b,), generator=make).to(DEVICE)


def ours(query, candidate, target, dims, **settings):
    return nested_cross_entropy(query, candidate, target, dims, backend="fused", **settings)


def near(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert one.isfinite().all()
        assert (one.double() - other).norm() <= tolerance * max(float(other.detach().norm()), 1e-6)


def against_float64(tolerance, query, candidate, target, dims, learned=(), **settings):
    """Value and gradients against the reference in float64, which is tested against a loop of its own."""
    leaves = [leaf for leaf in (query, candidate, *learned) if leaf.requires_grad]
    exact = {id(leaf): leaf.detach().double().requires_grad_(leaf.requires_grad) for leaf in (query, candidate)}
    exact |= {
        id(v): v.detach().double().requires_grad_(v.requires_grad)
        for v in settings.values()
        if torch.is_tensor(v) and v.is_floating_point()
    }
    twin = {name: exact.get(id(value), value) for name, value in settings.items()}
    expected = nested_cross_entropy(exact[id(query)], exact[id(candidate)], target, dims, **twin, backend="reference")
    loss = ours(query, candidate, target, dims, **settings)
    assert loss.total.dtype == loss.per_dim.dtype == torch.float32
    near([loss.per_dim, loss.total], [expected.per_dim, expected.total], 1e-5)
    found = torch.autograd.grad(loss.total, leaves)
    assert [gradient.dtype for gradient in found] == [leaf.dtype for leaf in leaves]
    near(found, torch.autograd.grad(expected.total, [exact[id(leaf)] for leaf in leaves]), tolerance)


@both_readings
@pytest.mark.parametrize(
    ("b", "n", "d", "dims"),
    [
        (5, 19, 6, (2, 3, 6)),
        (18, 5, 3, (1, 2, 3)),
        (3, 17, 5, (5,)),
        (4, 9, 5, (2,)),
        (1, 1, 3, (1, 3)),
        (1, 7, 1, (1,)),
    ],
    ids=["two tiles", "width-1 blocks", "one dim", "one short dim", "one pair", "one column"],
)
def test_equals_the_loop_written_definition(oracle, agree, normalize, b, n, d, dims):
    query, candidate, target = case(b, n, d)
    loss = ours(query, candidate, target, dims, normalize=normalize)
    expected = oracle.cross_entropy(query, candidate, target, dims, normalize=normalize)
    agree(loss, expected, (query, candidate), rtol=1e-4, atol=1e-5)


@both_readings
def test_equals_the_loop_with_everything_learned_and_taken_out(oracle, agree, normalize):
    query, candidate, target = case()
    weights = torch.tensor([0.5, 1.5, 2.0], device=DEVICE, requires_grad=True)
    scale = torch.tensor(3.0, device=DEVICE, requires_grad=True)
    bias = torch.linspace(-1, 1, 19, device=DEVICE).requires_grad_()
    settings = {"weights": weights, "scale": scale, "normalize": normalize, "bias": bias, "denominator": 12}
    settings |= exclusions("both", 5, 19, target)
    loss = ours(query, candidate, target, (1, 4, 6), **settings)
    expected = oracle.cross_entropy(query, candidate, target, (1, 4, 6), **settings)
    agree(loss, expected, (query, candidate, weights, scale, bias), rtol=1e-4, atol=1e-5)


@every_dtype
@both_readings
def test_many_tiles_chunks_and_splits(dtype, normalize):
    query, candidate, target = case(20, 50, 40, dtype=dtype)
    scale = None if normalize else 0.2
    against_float64(TOLERANCE[dtype], query, candidate, target, (3, 20, 40), scale=scale, normalize=normalize)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@both_readings
def test_learned_weights_scale_and_bias(dtype, normalize):
    query, candidate, target = case(17, 20, 24, dtype=dtype)
    weights = torch.tensor([0.5, 1.5], device=DEVICE, requires_grad=True)
    scale = torch.tensor(3.0 if normalize else 0.3, device=DEVICE, requires_grad=True)
    bias = torch.linspace(-1, 1, 20, device=DEVICE).requires_grad_()
    learned = {"weights": weights, "scale": scale, "bias": bias}
    against_float64(
        TOLERANCE[dtype], query, candidate, target, (5, 24), learned.values(), normalize=normalize, **learned
    )


def exclusions(kind, b, n, target):
    make = torch.Generator().manual_seed(1)
    mask = (torch.rand(b, n, generator=make) < 0.5).to(DEVICE)
    own, theirs = (torch.randint(0, 3, (size,), generator=make).to(DEVICE) for size in (b, n))
    ids = {"query_ids": own, "candidate_ids": theirs}
    if kind == "only the target left":
        return {"mask": torch.ones(b, n, dtype=torch.bool, device=DEVICE).scatter_(1, target[:, None], False)}
    if kind == "a transposed mask":
        return {"mask": mask.T.contiguous().T}
    return {"mask": {"mask": mask}, "ids": ids, "both": {"mask": mask, **ids}}[kind]


@pytest.mark.parametrize(("normalize", "with_bias"), [(True, False), (False, True)])
@pytest.mark.parametrize("kind", ["mask", "ids", "both", "only the target left", "a transposed mask"])
def test_taken_out_candidates(normalize, with_bias, kind):
    query, candidate, target = case(5, 19)
    bias = torch.linspace(-1, 1, 19, device=DEVICE) if with_bias else None
    settings = {"normalize": normalize, "bias": bias, **exclusions(kind, 5, 19, target)}
    against_float64(2e-5, query, candidate, target, (2, 6), **settings)
    if kind == "only the target left":
        loss = ours(query, candidate, target, (2, 6), **settings)
        assert (loss.per_dim == 0).all()
        assert all((g == 0).all() for g in torch.autograd.grad(loss.total, (query, candidate)))


def test_the_target_itself_is_never_taken_out():
    query, candidate, target = case()
    everything = torch.ones(5, 19, dtype=torch.bool, device=DEVICE)
    same = {"query_ids": torch.zeros(5, dtype=torch.int64), "candidate_ids": torch.zeros(19, dtype=torch.int64)}
    for settings in ({"mask": everything}, {name: ids.to(DEVICE) for name, ids in same.items()}):
        assert (ours(query, candidate, target, (2, 6), **settings).per_dim == 0).all()
    assert everything.all()


@both_readings
def test_duplicate_targets(normalize):
    query, candidate, _ = case(20, 7)
    target = torch.tensor([3, 3, 3, 0, 3] * 4, device=DEVICE)
    against_float64(2e-5, query, candidate, target, (2, 6), normalize=normalize)


@pytest.mark.parametrize("scale", [60.0, 100.0, 1000.0])
def test_large_scales(scale):
    query, candidate, target = case(5, 21)
    against_float64(3e-4, query, candidate, target, (2, 3, 6), scale=scale)


def test_large_raw_logits():
    query, candidate, target = case(20, 21)
    against_float64(3e-3, query, candidate, target, (2, 6), scale=1e4, normalize=False)


@pytest.mark.parametrize("scale", [12.0, 90.0])
def test_a_loss_near_zero_keeps_its_digits(scale):
    query, candidate, target = torch.eye(4, 8), torch.eye(4, 8), torch.arange(4)
    query, candidate = (v.to(DEVICE).requires_grad_() for v in (query, candidate))
    against_float64(1e-4, query, candidate, target.to(DEVICE), (8,), scale=scale)


@every_dtype
def test_rows_of_zeros_have_finite_loss_and_no_gradient(dtype):
    query, candidate, target = case(dtype=dtype)
    with torch.no_grad():
        query[1], candidate[2], candidate[3, :2] = 0.0, 0.0, 0.0
        if dtype == torch.float32:
            query[2], candidate[5] = query[2] * 1e-13, candidate[5] * 1e-14
    against_float64(TOLERANCE[dtype], query, candidate, target, (2, 4, 6))
    loss = ours(query, candidate, target, (2, 4, 6))
    of_query, of_candidate = torch.autograd.grad(loss.total, (query, candidate))
    assert (of_query[1] == 0).all()
    assert (of_candidate[2] == 0).all()
    assert dtype != torch.float32 or (of_query[2] == 0).all()


@every_dtype
def test_long_and_short_rows_are_as_exact_as_any(dtype):
    query, candidate, target = case(9, 17, 12, dtype=dtype)
    sizes = {torch.float16: (-13, 11)}.get(dtype, (-30, 90))
    with torch.no_grad():
        query.mul_(2.0 ** torch.linspace(*sizes, 9, device=DEVICE).round()[:, None])
        candidate.mul_(2.0 ** torch.linspace(*sizes[::-1], 17, device=DEVICE).round()[:, None])
    exact = [v.detach().double().requires_grad_() for v in (query, candidate)]
    expected = nested_cross_entropy(*exact, target, (4, 12), backend="reference").total
    loss = ours(query, candidate, target, (4, 12))
    near([loss.total], [expected], 1e-5)
    # The gradient of a short row is large, and beyond what float16 holds for the shortest ones.
    pairs = zip(torch.autograd.grad(loss.total, (query, candidate)), torch.autograd.grad(expected, exact), strict=True)
    for found, wanted in pairs:
        held = wanted.to(dtype).isfinite().all(1) & (wanted.abs().amax(1) > 2 * torch.finfo(dtype).tiny)
        assert held.any()
        error = (found.double() - wanted)[held].norm(dim=1) / wanted[held].norm(dim=1)
        assert error.max() < 10 * TOLERANCE[dtype]


@every_dtype
def test_a_prefix_much_shorter_than_the_whole(dtype):
    query, candidate, target = case(7, 18, 12, dtype=dtype)
    with torch.no_grad():
        query[:, :3] *= 2.0**-10
        candidate[:, :3] *= 2.0**-9
    against_float64(TOLERANCE[dtype], query, candidate, target, (3, 12))


def test_a_prefix_too_short_for_its_gradient_in_float16_keeps_its_loss():
    query, candidate, target = case(7, 18, 12, dtype=torch.float16)
    with torch.no_grad():
        query[:, :3], candidate[:, :3] = 2.0**-24, 2.0**-24
        query[:, 3:] *= 1e4
        candidate[:, 3:] *= 1e4
    loss = ours(query, candidate, target, (3, 12))
    expected = nested_cross_entropy(query.double(), candidate.double(), target, (3, 12), backend="reference")
    near([loss.per_dim], [expected.per_dim], 1e-5)
    assert loss.per_dim[0].isclose(torch.tensor(18.0, device=DEVICE).log())


@both_readings
@pytest.mark.parametrize("denominator", [None, 0, 12])
def test_no_rows_give_zero(normalize, denominator):
    query, candidate, target = case(b=0)
    bias = torch.zeros(19, device=DEVICE, requires_grad=True)
    scale = torch.ones((), device=DEVICE, requires_grad=True)
    settings = {"normalize": normalize, "denominator": denominator, "bias": bias, "scale": scale}
    loss = ours(query, candidate, target, (2, 6), **settings)
    assert loss.total == 0
    assert (loss.per_dim == 0).all()
    found = torch.autograd.grad(loss.total, (query, candidate, bias, scale))
    assert found[0].shape == (0, 6)
    assert all((gradient == 0).all() for gradient in found)


def test_scaling_a_row_changes_nothing_and_the_gradient_is_orthogonal():
    query, candidate, target = case()
    lengths = torch.tensor([0.1, 1.0, 7.0, 100.0, 0.5], device=DEVICE)[:, None]
    loss = ours(query, candidate, target, (1, 2, 6))
    other = ours(query.detach() * lengths, candidate * 3, target, (1, 2, 6))
    torch.testing.assert_close(other.per_dim, loss.per_dim)
    for dim in (1, 2, 3, 6):
        total = ours(query, candidate, target, (dim,)).total
        for vectors, gradient in zip((query, candidate), torch.autograd.grad(total, (query, candidate)), strict=True):
            along = (vectors[:, :dim] * gradient[:, :dim]).sum(1)
            torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-5)
            assert (gradient[:, dim:] == 0).all()


@both_readings
def test_halves_with_the_global_count_sum_to_the_whole(normalize):
    query, candidate, target = case(b=20)
    settings = {"dims": (2, 6), "weights": (0.5, 2.0), "normalize": normalize}
    whole = ours(query, candidate, target, **settings).total
    halves = [
        ours(query[part], candidate, target[part], **settings, denominator=20).total
        for part in (slice(0, 3), slice(3, 20))
    ]
    torch.testing.assert_close(sum(halves), whole)
    for one, other in zip(*(torch.autograd.grad(t, (query, candidate)) for t in (sum(halves), whole)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def plain_loop(query, candidate, target, dims, scale, normalize):
    total = 0.0
    for m in dims:
        rows, columns = query[:, :m], candidate[:, :m]
        if normalize:
            rows, columns = F.normalize(rows), F.normalize(columns)
        total = total + F.cross_entropy(scale * (rows @ columns.T), target)
    return total


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@both_readings
def test_half_precision_is_no_worse_than_the_plain_loop_in_it(dtype, normalize):
    query, candidate, target = case(20, 33, 48, dtype=dtype)
    dims, scale = (12, 24, 48), 20.0 if normalize else 1.0
    exact_leaves = [v.detach().double().requires_grad_() for v in (query, candidate)]
    exact = plain_loop(*exact_leaves, target, dims, scale, normalize)
    loop = plain_loop(query, candidate, target, dims, scale, normalize)
    loss = ours(query, candidate, target, dims, normalize=normalize).total
    assert abs(loss.double() - exact) <= abs(loop.double() - exact)
    exact_gradients = torch.autograd.grad(exact, exact_leaves)
    our_gradients, loop_gradients = (torch.autograd.grad(t, (query, candidate)) for t in (loss, loop))
    for one, loop_one, exact_one in zip(our_gradients, loop_gradients, exact_gradients, strict=True):
        assert one.dtype == dtype
        assert (one.double() - exact_one).norm() <= (loop_one.double() - exact_one).norm()


@both_readings
def test_float16_gradients_survive_through_the_loss_scale(normalize):
    query, candidate, target = case(dtype=torch.float16)
    tiny, large = 2.0**-30, 2.0**24
    loss = ours(query, candidate, target, (2, 6), weights=(tiny, tiny), normalize=normalize)
    scaled = [g.double() / large / tiny for g in torch.autograd.grad(loss.total * large, (query, candidate))]
    whole = torch.autograd.grad(ours(query, candidate, target, (2, 6), normalize=normalize).total, (query, candidate))
    near(scaled, [g.double() for g in whole], 2e-3)


@every_dtype
def test_negative_learned_weights_are_no_larger_than_others(dtype):
    query, candidate, target = case(b=20, n=33, d=24, dtype=dtype)
    weights = torch.tensor([-5.0, 0.001], device=DEVICE, requires_grad=True)
    against_float64(TOLERANCE[dtype], query, candidate, target, (8, 24), learned=(weights,), weights=weights)


def test_a_unit_prefix_of_one_coordinate_has_no_gradient():
    query, candidate, target = case(b=9, n=33, d=4)
    for gradient in torch.autograd.grad(ours(query, candidate, target, (1,)).total, (query, candidate)):
        assert not gradient.any()


def test_weights_of_zero_give_zero():
    query, candidate, target = case()
    loss = ours(query, candidate, target, (2, 6), weights=(0.0, 0.0))
    assert loss.total == 0
    assert all((g == 0).all() for g in torch.autograd.grad(loss.total, (query, candidate)))
    against_float64(2e-5, query, candidate, target, (2, 6), weights=(0.0, 2.0))


def test_rows_and_columns_of_different_types():
    query, _, target = case(dtype=torch.float32)
    _, candidate, _ = case(dtype=torch.bfloat16)
    against_float64(3e-3, query, candidate, target, (2, 6), normalize=False)


def test_views_transposes_and_one_tensor_on_both_sides():
    wide, columns, _ = (v.detach() for v in case(12, 4, 19))
    query, candidate = wide[::2, 2:6].requires_grad_(), columns.T.requires_grad_()
    against_float64(2e-5, query, candidate, torch.arange(6, device=DEVICE), (2, 4))
    vectors, _, _ = case(18, 1, 4)
    fused_one, reference = (
        nested_cross_entropy(vectors, vectors, torch.arange(18, device=DEVICE), (2, 4), backend=backend).total
        for backend in ("fused", "reference")
    )
    near(torch.autograd.grad(fused_one, vectors), torch.autograd.grad(reference, vectors), 2e-5)


def test_sixteen_dims_and_more():
    query, candidate, target = case(6, 20, 17)
    against_float64(2e-5, query, candidate, target, tuple(range(1, 18)))


def test_autocast_does_not_reach_inside():
    query, candidate, target = case(16, 24, 32)
    outside = ours(query, candidate, target, (8, 32))
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        inside = ours(query, candidate, target, (8, 32))
        found = torch.autograd.grad(inside.total, (query, candidate))
    assert torch.equal(inside.total, outside.total)
    near(found, [g.double() for g in torch.autograd.grad(outside.total, (query, candidate))], 1e-6)


@pytest.mark.parametrize("needs", list(itertools.product([True, False], repeat=3)))
def test_no_gradient_work_that_nobody_asked_for(monkeypatch, watch, needs):
    seen = {}
    kernel = fused_backward.share_kernel

    class Spy:
        def __getitem__(self, grid):
            return lambda **given: (seen.update(given), kernel[grid](**given))

    monkeypatch.setattr(fused_backward, "share_kernel", Spy())
    query, candidate, target = case(3, 7)
    query, candidate = (v.detach().requires_grad_(need) for v, need in zip((query, candidate), needs, strict=False))
    scale = torch.ones((), device=DEVICE, requires_grad=needs[2])
    loss = ours(query, candidate, target, (1, 2, 6), scale=scale)
    assert loss.total.requires_grad == any(needs)
    assert not seen
    if not any(needs):
        return
    with watch() as backward:
        loss.total.backward()
    assert backward.products == 3 * sum(needs[:2])
    assert (seen["shares"] is not None) == any(needs[:2])
    assert (seen["row_dots"] is not None) == (needs[0] or needs[2])
    assert (seen["column_dots"] is not None) == needs[1]


@both_readings
def test_only_the_scalars_need_a_gradient(normalize):
    query, candidate, target = (v.detach() for v in case(18, 23))
    scale = torch.tensor(2.0, device=DEVICE, requires_grad=True)
    bias = torch.zeros(23, device=DEVICE, requires_grad=True)
    learned = {"scale": scale, "bias": bias}
    against_float64(2e-5, query, candidate, target, (2, 6), learned.values(), normalize=normalize, **learned)


def test_nothing_grows_with_rows_times_columns(monkeypatch, watch, saved_entries):
    monkeypatch.setattr(fused_plan, "tiles_for", lambda dtype, b, n: fused_plan.Tiles(64, 64, 4, 2))
    monkeypatch.setattr(fused_backward, "SHARE_BYTES", 4 * 64 * 64)
    query, candidate, target = case(200, 210, 8)
    with watch() as seen:
        ours(query, candidate, target, (8,)).total.backward()
    # A chunk, or the candidates' gradient, padded to one step: the interpreter copies them byte by byte.
    assert max(seen.entries) <= max(4 * 64 * 64, 4 * 210 * 16) < 200 * 210 / 2
    kept = saved_entries(lambda: ours(query, candidate, target, (8,)).total)
    assert max(kept) == 210 * 16


def test_chunks_hold_no_more_than_their_budget(monkeypatch):
    monkeypatch.setattr(fused_backward, "SHARE_BYTES", 2**28)
    dims = (12, 24, 48, 96, 192, 384, 768)
    for b, n in ((16384, 16384), (8192, 30522), (65536, 65536), (512, 2**21), (1, 7), (40, 2**24)):
        plan = fused_plan.Plan(
            layout_of(dims, torch.bfloat16),
            torch.bfloat16,
            fused_plan.Tiles(128, 128, 8, 3),
            True,
            20.0,
            1.0,
        )
        rows, columns = fused_backward._chunk(b, n, plan)
        assert 1 <= rows <= b
        assert 1 <= columns <= n
        assert 7 * 2 * rows * columns <= 2**28
        assert rows == b or columns == n or rows * columns >= 0.9 * 2**28 / 14


def test_backward_twice_gives_the_same_and_twice_differentiating_is_refused():
    query, candidate, target = case()
    total = ours(query, candidate, target, (2, 6)).total
    once = torch.autograd.grad(total, query, retain_graph=True)[0].clone()
    assert torch.equal(torch.autograd.grad(total, query, retain_graph=True)[0], once)
    with pytest.raises(RuntimeError, match=r"can be differentiated once.*backend='reference'"):
        torch.autograd.grad(total, query, create_graph=True)


def test_the_packing_pads_blocks_to_whole_steps():
    assert layout_of((12, 24, 48, 96, 192, 384, 768), torch.bfloat16).depth == 32
    assert layout_of((64, 128, 256, 512, 768), torch.bfloat16).depth == 64
    assert layout_of((64, 128, 256, 512, 768), torch.float32).depth == 32
    assert layout_of((1, 2, 3), torch.bfloat16).depth == 16
    layout = Layout((3, 20), 16)
    assert (layout.steps, layout.width) == ((1, 3), 48)
    vectors = torch.arange(2.0 * 21).reshape(2, 21) + 1
    packed = pack(vectors, layout, torch.float16, unit=False)
    assert torch.equal(packed.values[:, :3].float(), vectors[:, :3])
    assert torch.equal(packed.values[:, 16:33].float(), vectors[:, 3:20])
    assert packed.values.count_nonzero() == 2 * 20
    grown = pack(vectors * 2.0**-20, layout, torch.float16, unit=True)
    torch.testing.assert_close(grown.values.float() / grown.growth[:, None], packed.values.float() * 2.0**-20)
    lengths = torch.stack([vectors[:, :m].norm(dim=1) for m in (3, 20)]) * 2.0**-20
    torch.testing.assert_close(grown.inverse * grown.growth, 1 / lengths)


def test_tiles_fit_what_there_is(monkeypatch):
    monkeypatch.undo()
    assert fused_plan.tiles_for(torch.bfloat16, 16384, 30522) == fused_plan.Tiles(128, 128, 8, 3)
    assert fused_plan.tiles_for(torch.float32, 16384, 30522) == fused_plan.Tiles(64, 64, 8, 3)
    assert fused_plan.tiles_for(torch.float16, 1, 33) == fused_plan.Tiles(16, 64, 4, 3)
    assert fused_plan.tiles_for(torch.float16, 0, 0) == fused_plan.Tiles(16, 16, 4, 3)


def test_few_rows_split_the_columns(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: type("", (), {"multi_processor_count": 132})
    )
    gpu = torch.device("cuda")
    assert fused._splits(1, 100, gpu) == 100
    assert fused._splits(64, 239, gpu) == 8
    assert fused._splits(10**6, 239, gpu) == 1


def test_the_shipped_tiles_give_the_same(monkeypatch):
    monkeypatch.undo()
    query, candidate, target = case(40, 70, 12)
    against_float64(2e-5, query, candidate, target, (2, 6, 12))


def test_auto_says_what_it_takes_and_why(monkeypatch):
    assert choose_backend("cpu") == ("chunked", "the vectors are on cpu, no CUDA device")
    query, candidate, target = case()
    if INTERPRETED:
        monkeypatch.setattr(fused_support, "refuse_fused", None)  # not asked
        loss = nested_cross_entropy(query, candidate, target, (2, 6)).total
        assert torch.equal(loss, nested_cross_entropy(query, candidate, target, (2, 6), backend="chunked").total)


def test_auto_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    monkeypatch.setattr(fused_support, "_interpreted", lambda: False)
    assert choose_backend("cuda", torch.bfloat16, 7) == ("fused", "H100, torch.bfloat16, 7 dims: the fused kernels run")
    assert choose_backend("cuda", torch.float64) == ("chunked", "the vectors are torch.float64")
    assert choose_backend("cuda", torch.float16, 33) == ("chunked", "there are 33 dims")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert choose_backend("cuda") == ("chunked", "the GPU has compute capability 7.5")
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert choose_backend("cuda") == ("chunked", "the GPU is AMD's, where the kernels were never tried")
    monkeypatch.setattr(fused_support, "find_spec", lambda name: None)
    assert choose_backend("cuda") == ("chunked", "triton is not installed")


def test_auto_does_not_take_the_interpreter(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(fused_support, "_interpreted", lambda: True)
    assert "TRITON_INTERPRET is set" in choose_backend("cuda").reason


@pytest.mark.parametrize(
    ("dtype", "dims", "interpreted", "message"),
    [
        (
            torch.float64,
            (2, 6),
            True,
            r"'fused', but the vectors are torch\.float64; allowed are float32, bfloat16 and",
        ),
        (torch.float32, range(1, 34), True, r"there are 33 dims; allowed are .* at most 32 dims"),
        (torch.float32, (2, 6), False, r"the vectors are on cpu; .*TRITON_INTERPRET=1.*use backend='auto'"),
    ],
)
def test_fused_by_name_is_refused_where_it_cannot_run(monkeypatch, dtype, dims, interpreted, message):
    monkeypatch.setattr(fused_support, "_interpreted", lambda: interpreted)
    query, candidate = torch.ones(3, 40, dtype=dtype), torch.ones(4, 40, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        nested_cross_entropy(query, candidate, torch.arange(3), tuple(dims), backend="fused")


def test_distillation_has_no_fused_kernels():
    vectors = torch.ones(3, 4)
    with pytest.raises(ValueError, match=r"backend is 'fused'; allowed are 'auto', 'reference', 'chunked'"):
        nested_distillation(vectors, vectors, vectors, vectors, (2, 4), backend="fused")


def test_a_machine_without_triton_imports_and_works():
    program = """
import sys
sys.modules["triton"] = None
import torch
from matryoshka_text.nested import choose_backend, nested_cross_entropy
vectors, target = torch.randn(4, 6, requires_grad=True), torch.arange(4)
nested_cross_entropy(vectors, vectors, target, (2, 6)).total.backward()
try:
    nested_cross_entropy(vectors, vectors, target, (2, 6), backend="fused")
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "backend is 'fused', but triton is not installed" in done.stdout


COMPILATION = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from matryoshka_text.nested import kernels, kernels_backward

POINTERS = {"stops": "*i32", "target": "*i64", "query_ids": "*i64", "candidate_ids": "*i64", "mask": "*u8"}
SIZES = {"b", "n", "width", "count", "mask_row", "mask_column", "tiles_a_split", "first_row", "first_column"}
SIZES |= {"chunk_rows", "chunk_columns", "share_row", "share_prefix"}
SIDES = {"ROWS": 32, "COLUMNS": 32, "DEPTH": 16, "WIDEN": False, "COUNT": 4, "RAISE": 2.0, "BOUNDED": False}
RAW = ("inverse_x", "inverse_y", "row_dots", "column_dots")
UNIT = ("bias", "bias_sums", "mask", "query_ids", "candidate_ids")

def compiled(kernel, kind, absent, capability):
    known = {name: SIDES[name] for name in kernel.arg_names if name in SIDES} | dict.fromkeys(absent)
    known = {name: value for name, value in known.items() if name in kernel.arg_names}
    types = {"x": kind, "y": kind, "shares": kind, "scale2": "fp32", **POINTERS, **dict.fromkeys(SIZES, "i32")}
    signature = {name: "constexpr" if name in known else types.get(name, "*fp32") for name in kernel.arg_names}
    constants = {(kernel.arg_names.index(name),): value for name, value in known.items()}
    return compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", capability, 32)).asm["cubin"]

each = (kernels.pair_kernel, kernels.forward_kernel, kernels_backward.share_kernel)
for kernel in each:
    for kind, absent, capability in (("*bf16", UNIT, 90), ("*fp16", RAW, 80), ("*fp32", (), 90)):
        assert compiled(kernel, kind, absent, capability)
"""


def test_the_kernels_compile_for_a_gpu_that_is_not_there(tmp_path):
    settings = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    program = tmp_path / "program.py"
    program.write_text(COMPILATION)
    done = subprocess.run([sys.executable, str(program)], env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(not torch.cuda.is_available() or INTERPRETED, reason="no GPU at hand: the kernels are interpreted")
class TestOnAGPU:
    @every_dtype
    @both_readings
    @pytest.mark.parametrize(("b", "n"), [(1024, 1024), (777, 3001), (3, 30522)])
    def test_larger_shapes(self, monkeypatch, dtype, normalize, b, n):
        monkeypatch.undo()
        query, candidate, target = case(b, n, 768, dtype=dtype)
        dims, scale = (12, 24, 48, 96, 192, 384, 768), None if normalize else 0.05
        against_float64(TOLERANCE[dtype], query, candidate, target, dims, scale=scale, normalize=normalize)

    def test_the_products_repeat_bit_for_bit(self, monkeypatch):
        monkeypatch.undo()
        query, candidate, target = case(1024, 1024, 768, dtype=torch.bfloat16)
        first, second = (
            torch.autograd.grad(ours(query, candidate, target, (64, 768)).total, (query, candidate)) for _ in range(2)
        )
        assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))

    def test_memory(self, monkeypatch):
        monkeypatch.undo()
        query, candidate, target = case(16384, 16384, 768, dtype=torch.bfloat16)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        ours(query, candidate, target, (12, 24, 48, 96, 192, 384, 768)).total.backward()
        assert torch.cuda.max_memory_allocated() - before < 2**30
