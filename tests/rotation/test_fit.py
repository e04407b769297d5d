"""Learning a rotation: the gradient against a loop, full width untouched, a known optimum found, bad input refused."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from matryoshka_text.rotation import Check, FitSettings, Step, fit_rotation
from matryoshka_text.rotation import fit as module
from matryoshka_text.rotation.fit import slope

SMALL = FitSettings(anchors=16, neighbours=3, steps=30, warmup=5, check_every=10)


def random_rows(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def random_rotation(width: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(random_rows(width, width, seed).double())[0]


def losses_by_loop(vectors: list[list[float]], rotation: list[list[float]], dims: list[int], t: float) -> list[float]:
    """KL_m for each dim, by the definition in the docstring of fit_rotation, in plain Python floats."""

    def cosine(a: list[float], b: list[float]) -> float:
        lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / lengths

    n, width = len(vectors), len(rotation)
    turned = [[sum(row[k] * rotation[k][c] for k in range(width)) for c in range(width)] for row in vectors]
    totals = []
    for m in dims:
        total = 0.0
        for i in range(n):
            others = [j for j in range(n) if j != i]
            p = [math.exp(cosine(vectors[i], vectors[j]) / t) for j in others]
            q = [math.exp(cosine(turned[i][:m], turned[j][:m]) / t) for j in others]
            for a, b in zip(p, q, strict=True):
                total += a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) / n
        totals.append(total)
    return totals


def turned_a_little(rotation: Tensor, i: int, j: int, angle: float) -> Tensor:
    skew = torch.zeros_like(rotation)
    skew[i, j], skew[j, i] = angle, -angle
    return rotation @ torch.linalg.matrix_exp(skew)


def test_the_gradient_is_that_of_the_loss_along_every_turn() -> None:
    vectors, rotation, dims, t = normalize(random_rows(7, 5).double(), dim=1), random_rotation(5, 1), [1, 3], 0.5
    found, per_dim = slope(vectors, rotation, dims, t)
    torch.testing.assert_close(found, -found.T)
    each = losses_by_loop(vectors.tolist(), rotation.tolist(), dims, t)
    assert list(per_dim.values()) == pytest.approx(each, rel=1e-9)

    def loss(turned: Tensor) -> float:
        return sum(map(math.log, losses_by_loop(vectors.tolist(), turned.tolist(), dims, t)))

    for i in range(5):
        for j in range(i):
            ahead, behind = (loss(turned_a_little(rotation, i, j, angle)) for angle in (1e-5, -1e-5))
            assert float(found[i, j]) == pytest.approx((ahead - behind) / 2e-5, abs=1e-6)


def test_turns_within_a_block_change_nothing_and_are_left_out() -> None:
    vectors, rotation = normalize(random_rows(9, 6).double(), dim=1), random_rotation(6, 2)
    found, _ = slope(vectors, rotation, [2, 4], 0.1)
    for block in (slice(0, 2), slice(2, 4), slice(4, 6)):
        assert found[block, block].abs().max() < 1e-12
    free = module._free_planes([2, 4], 6)
    assert free[:2, :2].sum() == free[2:4, 2:4].sum() == free[4:, 4:].sum() == 0
    assert free.sum() == 36 - 12


def test_the_result_is_orthogonal_and_full_width_cosines_stay() -> None:
    sources = [random_rows(60, 16, 1), random_rows(50, 16, 2) * 7]
    rotation = fit_rotation(sources, [2, 4, 8], SMALL)
    assert rotation.dtype == torch.float64
    assert (rotation.T @ rotation - torch.eye(16)).abs().max() < 1e-12
    for vectors in sources:
        unit = normalize(vectors, dim=1)
        turned = normalize(vectors @ rotation.float(), dim=1)
        assert (unit @ unit.T - turned @ turned.T).abs().max() < 1e-6


@pytest.mark.parametrize("start", ["identity", "within_source", "pooled"])
def test_a_known_best_rotation_is_found(start: str) -> None:
    # All neighbourhoods lie in a plane of four dims, hidden by a turn: the first four coordinates must come to span it.
    hidden, noise = random_rotation(12, 3).float(), 0.02
    plain = torch.cat([random_rows(400, 4, 4), noise * random_rows(400, 8, 5)], dim=1)
    settings = FitSettings(start=start, anchors=64, temperature=0.2, steps=300, learning_rate=0.2, warmup=10)  # type: ignore[arg-type]
    rotation = fit_rotation([plain @ hidden.T], [4], settings).float()
    overlap = (hidden[:, :4].T @ rotation[:, :4]).square().sum() / 4
    assert overlap > 0.98


def test_learning_improves_on_its_start() -> None:
    # Large variance where neighbours do not differ: principal axes put it first, and it is worth nothing.
    centres = random_rows(40, 3, 6).repeat_interleave(10, 0)
    vectors = torch.cat([centres, 0.3 * random_rows(400, 9, 7)], dim=1) @ random_rotation(12, 8).float()
    losses: list[Step] = []
    settings = FitSettings(start="identity", anchors=40, steps=120, learning_rate=1e-2, warmup=10)
    fit_rotation([vectors], [3, 6], settings, on_step=losses.append)
    first, last = (sum(sum(s.per_dim.values()) for s in part) for part in (losses[:10], losses[-10:]))
    assert [step.number for step in losses] == list(range(1, 121))
    assert last < 0.7 * first


def test_the_same_input_gives_the_same_bits_and_another_seed_others() -> None:
    sources = [random_rows(80, 12, 1), random_rows(80, 12, 2)]
    one, again, other = (
        fit_rotation(sources, [3, 6], FitSettings(anchors=16, steps=20, warmup=2, seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_best_check_on_held_back_rows_is_kept() -> None:
    vectors, held = random_rows(200, 12, 1), random_rows(40, 12, 2)
    checks: list[Check] = []
    fit_rotation([vectors], [3, 6], SMALL, held_back_by_source=[held], on_check=checks.append)
    assert [check.step for check in checks] == [0, 0, 10, 20, 30]  # the identity, the start, and every tenth step
    assert all(set(check.per_dim) == {3, 6} for check in checks)
    assert checks[0].loss == pytest.approx(sum(map(math.log, checks[0].per_dim.values())) / 2)


def test_a_model_that_is_nested_already_is_left_as_it_is() -> None:
    # The first coordinates tell nearly all and each next less: no turn keeps more on rows that were not learned from.
    scale = torch.tensor([1.0, 0.9, 0.8, 0.01, 0.01, 0.01])
    vectors, held = random_rows(300, 6, 1) * scale, random_rows(60, 6, 2) * scale
    hurtful = FitSettings(anchors=32, steps=20, warmup=1, learning_rate=0.5, check_every=20)
    rotation = fit_rotation([vectors], [3], hurtful, held_back_by_source=[held]).float()
    span = rotation[:3, :3].square().sum() / 3
    assert span > 0.999


def test_repeated_rows_are_not_each_others_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    taken: Callable[..., Tensor] = module.nearest_rows

    def spied(vectors: Tensor, count: int) -> Tensor:
        seen.append(vectors)
        return taken(vectors, count)

    monkeypatch.setattr(module, "nearest_rows", spied)
    fit_rotation([random_rows(50, 8).repeat(3, 1)], [2, 4], SMALL)
    assert [len(vectors) for vectors in seen] == [50]


@pytest.mark.parametrize(
    ("sources", "dims", "message"),
    [
        ([random_rows(50, 8)], [4, 2], "dims"),
        ([random_rows(50, 8)], [9], "dims"),
        ([random_rows(4, 8)], [2], "4 different rows"),
        ([random_rows(1, 8).repeat(50, 1)], [2], "1 different rows"),
        ([random_rows(50, 8), random_rows(50, 6)], [2], "widths"),
        ([], [2], "widths"),
        ([random_rows(50, 8).index_fill(0, torch.tensor([3, 7]), math.nan)], [2], "3, 7"),
    ],
)
def test_bad_input_is_refused(sources: list[Tensor], dims: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_rotation(sources, dims, SMALL)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    "wrong",
    [
        {"start": "pca"},
        {"anchors": 1},
        {"neighbours": 0},
        {"steps": -1},
        {"temperature": 0.0},
        {"learning_rate": math.nan},
    ],
)
def test_bad_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FitSettings(**wrong)  # type: ignore[arg-type]
