import pytest
import torch
from sentence_transformers.sentence_transformer.losses import CoSENTLoss

from matryoshka_text.nested import NestedLoss, nested_cosent

DIMS = (1, 2, 6)
SCORES = {
    "all different": [0.3, 4.0, -1.0, 2.0, 0.0, 5.0, 1.5],
    "ties": [0.0, 1.0, 1.0, 0.0, 2.0, 1.0, 2.0],
    "two values": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    "all equal": [3.0] * 7,
}
scored = pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)


def case(n=7, d=6, dtype=torch.float64):
    make = torch.Generator().manual_seed(0)
    return tuple(torch.randn(n, d, generator=make, dtype=torch.float64).to(dtype).requires_grad_() for _ in "ab")


@scored
@pytest.mark.parametrize("dims", [(2, 3, 6), (1, 2, 3, 4, 5, 6), (6,), (4,)])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_equals_the_loop_written_definition(oracle, agree, scores, dims, scale):
    first, second = case()
    loss = nested_cosent(first, second, torch.tensor(scores), dims, scale=scale)
    assert isinstance(loss, NestedLoss)
    assert not loss.per_dim.requires_grad
    agree(loss, oracle.cosent(first, second, scores, dims, scale=scale), (first, second))


@scored
def test_equals_sentence_transformers_at_each_dim(scores):
    first, second = case()
    scores = torch.tensor(scores)
    loss = nested_cosent(first, second, scores, DIMS, scale=20.0)
    theirs = [
        CoSENTLoss(None, scale=20.0).compute_loss_from_embeddings([first[:, :m], second[:, :m]], scores) for m in DIMS
    ]
    torch.testing.assert_close(loss.per_dim, torch.stack(theirs).detach(), rtol=1e-9, atol=1e-12)
    ours, expected = (torch.autograd.grad(total, (first, second)) for total in (loss.total, sum(theirs)))
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


def test_learned_weights_and_scale_and_a_denominator(oracle, agree):
    first, second = case()
    scores = torch.tensor(SCORES["ties"])
    weights = torch.tensor([0.5, 3.0], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    loss = nested_cosent(first, second, scores, (2, 6), weights=weights, scale=scale, denominator=3)
    expected = oracle.cosent(first, second, scores, (2, 6), weights=weights, scale=scale, denominator=3)
    agree(loss, expected, (first, second, weights, scale))


@scored
def test_gradcheck(scores):
    scores = torch.tensor(scores)
    assert torch.autograd.gradcheck(lambda a, b: nested_cosent(a, b, scores, DIMS, scale=3.0).total, case())


def test_equal_scores_give_exactly_zero():
    first, second = case(dtype=torch.float32)
    loss = nested_cosent(first, second, torch.full((7,), 2.5), DIMS)
    assert loss.total == 0
    assert (loss.per_dim == 0).all()
    assert all((g == 0).all() for g in torch.autograd.grad(loss.total, (first, second)))


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_pairs_for_a_comparison_give_zero(n):
    first, second = case(n=n)
    loss = nested_cosent(first, second, torch.zeros(n), DIMS)
    assert loss.total == 0
    assert torch.autograd.grad(loss.total, first)[0].eq(0).all()


def test_only_the_order_of_the_scores_counts():
    first, second = case()
    scores = torch.tensor(SCORES["ties"])
    expected = nested_cosent(first, second, scores, DIMS).per_dim
    for same in (scores.long(), scores.bfloat16(), (scores * 100 - 3).double(), scores.exp()):
        assert torch.equal(nested_cosent(first, second, same, DIMS).per_dim, expected)
    related = scores > 0
    torch.testing.assert_close(
        nested_cosent(first, second, related, DIMS).per_dim, nested_cosent(first, second, related.long(), DIMS).per_dim
    )


def test_the_order_of_the_rows_does_not_count():
    first, second = case(dtype=torch.float32)
    scores, mixed = torch.tensor(SCORES["ties"]), torch.tensor([3, 1, 6, 0, 5, 2, 4])
    found = nested_cosent(first[mixed], second[mixed], scores[mixed], DIMS)
    torch.testing.assert_close(found.per_dim, nested_cosent(first, second, scores, DIMS).per_dim)


@pytest.mark.parametrize("scale", [20.0, 100.0, 1000.0])
def test_thousands_of_pairs_in_single_precision(scale):
    make = torch.Generator().manual_seed(0)
    first, second = (torch.randn(4096, 16, generator=make, requires_grad=True) for _ in "ab")
    scores = torch.randint(0, 50, (4096,), generator=make) / 10
    loss = nested_cosent(first, second, scores, (4, 16), scale=scale)
    exact = [v.detach().double().requires_grad_() for v in (first, second)]
    expected, each = [], []
    for m in (4, 16):
        z = scale * torch.cosine_similarity(exact[0][:, :m], exact[1][:, :m])
        apart = (z[None, :] - z[:, None])[scores[:, None] > scores[None, :]]
        each.append(torch.cat([z.new_zeros(1), apart]).logsumexp(0))
        expected.append(each[-1].item())
    assert loss.per_dim.tolist() == pytest.approx(expected, rel=1e-6)
    found = torch.autograd.grad(loss.total, (first, second))
    for ours, theirs in zip(found, torch.autograd.grad(sum(each), exact), strict=True):
        assert (ours - theirs).norm() / theirs.norm() < 1e-4 * max(1, scale / 100)


def test_nothing_kept_or_formed_has_a_place_for_each_pair_of_rows(saved_entries, watch):
    first, second = case(n=64, dtype=torch.float32)
    scores = torch.arange(64.0) % 9
    assert max(saved_entries(lambda: nested_cosent(first, second, scores, DIMS).total)) <= 64 * 6
    with watch() as seen:
        nested_cosent(first, second, scores, DIMS).total.backward()
    assert max(seen.entries) <= 65 * 6


def test_scaling_a_row_changes_nothing_and_the_gradient_is_orthogonal():
    first, second = case()
    scores = torch.tensor(SCORES["ties"])
    loss = nested_cosent(first, second, scores, (1, 6))
    torch.testing.assert_close(nested_cosent(first * 9, second * 0.1, scores, (1, 6)).per_dim, loss.per_dim)
    along = (torch.autograd.grad(loss.total, first)[0] * first).sum(1)
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


def test_rows_of_zeros_have_cosine_zero_and_no_gradient(oracle, agree):
    first, second = case()
    with torch.no_grad():
        first[1], second[2, :2] = 0.0, 0.0
    scores = torch.tensor(SCORES["all different"])
    agree(nested_cosent(first, second, scores, (2, 6)), oracle.cosent(first, second, scores, (2, 6)), (first, second))
    assert (torch.autograd.grad(nested_cosent(first, second, scores, (2, 6)).total, first)[0][1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_float32(dtype):
    first, second = case(dtype=dtype)
    scores = torch.tensor(SCORES["ties"], dtype=torch.float64)
    loss = nested_cosent(first, second, scores, DIMS)
    assert loss.total.dtype == torch.float32
    assert torch.equal(loss.total, nested_cosent(first.float(), second.float(), scores, DIMS).total)
    assert torch.autograd.grad(loss.total, first)[0].dtype == dtype


def test_autocast_does_not_reach_inside():
    first, second = case(dtype=torch.float32)
    scores = torch.tensor(SCORES["ties"])
    outside = nested_cosent(first, second, scores, DIMS).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nested_cosent(first, second, scores, DIMS).total, outside)


def test_no_gradient_reaches_the_scores_and_none_a_second_time():
    first, second = case()
    scores = torch.tensor(SCORES["ties"], requires_grad=True)
    total = nested_cosent(first, second, scores, DIMS).total
    assert torch.autograd.grad(total, scores, allow_unused=True, retain_graph=True) == (None,)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        torch.autograd.grad(total, first, create_graph=True)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second": torch.zeros(4, 6)}, r"second has shape \[4, 6\]; allowed is \[7, 6\]"),
        ({"scores": torch.zeros(7, 1)}, r"scores has shape \[7, 1\]; allowed is \[7\]"),
        ({"scores": torch.zeros(7, dtype=torch.complex64)}, r"scores holds torch\.complex64; allowed are real numbers"),
        ({"scores": torch.tensor([0.0] * 5 + [torch.nan, 1.0])}, r"scores\[5\] is nan; allowed are numbers"),
        ({"dims": (6, 2)}, r"dims\[1\] is 2 "),
        ({"weights": (1.0,)}, r"weights has shape \[1\]"),
        ({"scale": -1}, r"scale is -1\.0; allowed is a finite number above 0"),
        ({"denominator": 0}, r"denominator is 0\.0 for 7 rows"),
    ],
)
def test_bad_arguments_are_refused_by_name(change, message):
    first, second = case(dtype=torch.float32)
    given = {"first": first, "second": second, "scores": torch.zeros(7), "dims": (2, 6), **change}
    with pytest.raises(ValueError, match=message):
        nested_cosent(**given)
