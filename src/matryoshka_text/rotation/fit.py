"""The rotation that lets prefixes keep the neighbourhoods of the full width: tensors in, one orthogonal matrix out."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import normalize

from matryoshka_text.dims import check_dims
from matryoshka_text.nested import NestedLoss, nested_distillation
from matryoshka_text.rotation.batches import neighbourhood_batches
from matryoshka_text.rotation.neighbours import distinct_rows, nearest_rows
from matryoshka_text.rotation.start import STARTS, Start, principal_axes, starting_matrix, within_source_covariance

__all__ = ["Check", "FitSettings", "Step", "fit_rotation", "slope"]

_BETAS = (0.9, 0.999)
_EPSILON = 1e-10
# In nats: below it a prefix keeps everything, and its logarithm would ask for ever more.
_LEAST = 1e-4
# Held-back rows of a source that a check looks at.
_MOST_ASKED = 500


@dataclass(frozen=True)
class FitSettings:
    """How a rotation is learned; the defaults are those of the study in eval/LOG.md.

    `steps` 0 keeps the start. `learning_rate` is Adam's, in radians of each plane's turn; it rises over `warmup` steps
    and falls to 0 over the rest. `anchors` and `neighbours` make a batch, `temperature` divides its cosines.
    """

    start: Start = "within_source"
    anchors: int = 128
    neighbours: int = 3
    temperature: float = 0.05
    steps: int = 400
    learning_rate: float = 2e-3
    warmup: int = 50
    check_every: int = 50
    seed: int = 0
    # Raised when the same settings give another rotation: it is in every record, so nothing old passes for new.
    algorithm: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        """ValueError naming the setting that is out of its bounds."""
        if self.start not in STARTS:
            raise ValueError(f"start is {self.start!r}; allowed: {', '.join(STARTS)}")
        for name, least in (("anchors", 2), ("neighbours", 1), ("steps", 0), ("warmup", 0), ("check_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: a whole number of at least {least}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; allowed: 0 to {2**32 - 1}")
        for name, lowest in (("temperature", 1e-4), ("learning_rate", 1e-12)):
            if not lowest <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: a finite number of at least {lowest:g}")


@dataclass(frozen=True)
class Step:
    """One step: its number from 1, the source of its batch, and the batch's KL_m at each dim, in nats."""

    number: int
    source: int
    per_dim: dict[int, float]


@dataclass(frozen=True)
class Check:
    """How many steps had been taken, and KL_m of held-back rows at each dim, in nats (mean over sources)."""

    step: int
    per_dim: dict[int, float]

    @property
    def loss(self) -> float:
        """The mean over dims of its logarithm."""
        return sum(math.log(max(value, _LEAST)) for value in self.per_dim.values()) / len(self.per_dim)


def fit_rotation(
    vectors_by_source: Sequence[Float[Tensor, "_ width"]],
    dims: Sequence[int],
    settings: FitSettings | None = None,
    *,
    held_back_by_source: Sequence[Float[Tensor, "_ width"]] | None = None,
    on_step: Callable[[Step], object] = lambda step: None,
    on_check: Callable[[Check], object] = lambda check: None,
) -> Float64[Tensor, "width width"]:
    """An orthogonal R whose prefixes of `vectors @ R` keep the neighbourhoods that `vectors` have at full width.

    It minimises, over orthogonal matrices, with x the unit rows of a batch and y = x R,

        L(R) = sum over dims m < width of  log KL_m
        KL_m = mean_i KL( softmax_j(x_i . x_j / t) || softmax_j(cos(y_i[:m], y_j[:m]) / t) )     over j != i

    where KL_m is `nested_distillation` with the frozen vectors as teacher. The logarithm gives every dim and every
    source the same say: one percent less of its loss, however large that is. Each batch holds anchors of one source
    with their nearest rows of that source. Cosines at full width are not changed: R is orthogonal to 1e-12.

    R moves along the group: Adam's moments are kept for the skew-symmetric gradient R^T dL/dR - (R^T dL/dR)^T, and each
    update is a Cayley transform, so that no constraint has to be restored. Turns within a block (m_k, m_k+1] change no
    trained prefix; they are left out, and each block is turned to its own principal axes at the end, largest variance
    first, which is what dims between the trained ones gain by.

    `held_back_by_source`: rows that are not learned from. Every `check_every` steps the loss is taken with them as the
    i and with their nearest learned rows as the j, and the R of the lowest such loss is the result; the identity (no
    rotation) and the start are candidates too, and the better of these two is where learning begins. None: the last R.
    Rows that repeat an earlier row count once.
    The result depends on the vectors, the settings, the number of threads and torch's version only.
    `ValueError` for dims that are none, for sources of fewer rows than a neighbourhood, and for NaN.
    """
    settings = settings or FitSettings()
    sources = [_unit_rows(vectors, f"vectors_by_source[{i}]") for i, vectors in enumerate(vectors_by_source)]
    width = _common_width(sources)
    shorter = [dim for dim in check_dims(dims, width) if dim < width]
    learned = [vectors[distinct_rows(vectors)] for vectors in sources]
    for place, rows in enumerate(learned):
        if len(rows) <= settings.neighbours + 1:
            raise ValueError(
                f"vectors_by_source[{place}] has {len(rows)} different rows; allowed: more than a neighbourhood of "
                f"{settings.neighbours + 1}"
            )
    rotation = starting_matrix(learned, settings.start)
    if not shorter:
        return rotation
    best = _Best(sources=learned, held_back=held_back_by_source, dims=shorter, settings=settings, on_check=on_check)
    # Where all vectors point one way, centred axes lose what their cosines have in common, and no start is the better.
    best.compare(0, torch.eye(width), rotation)
    steps = _descent(learned, best.rotation.float(), shorter, settings=settings, on_step=on_step)
    for number, moved in enumerate(steps, start=1):
        if number % settings.check_every == 0 or number == settings.steps:
            best.compare(number, moved)
    if not best.rotation.numel() or not bool(torch.isfinite(best.rotation).all()):
        raise ValueError("learning_rate or temperature lead to losses that are not finite; allowed: milder ones")
    return _ordered_blocks(_orthogonal(best.rotation), within_source_covariance(learned), shorter)


def slope(
    vectors: Float[Tensor, "n width"], rotation: Float[Tensor, "width width"], dims: Sequence[int], temperature: float
) -> tuple[Float[Tensor, "width width"], dict[int, float]]:
    """How the sum of log KL_m of a batch rises as R turns to R exp(S), as a skew-symmetric matrix; and each KL_m.

    The change to first order is half the sum of the element-wise product of the two matrices.
    """
    turned = (vectors @ rotation).requires_grad_()

    def divergence(weights: Tensor | None) -> NestedLoss:
        own = torch.arange(len(vectors))
        return nested_distillation(
            turned, turned, vectors, vectors, dims=dims, weights=weights, temperature=temperature, self_index=own
        )

    with torch.no_grad():
        each = divergence(None).per_dim
    # The derivative of log KL_m is that of KL_m divided by it.
    loss = divergence(each.clamp(min=_LEAST).reciprocal())
    (gradient,) = torch.autograd.grad(loss.total, turned)
    along = turned.detach().T @ gradient
    return along - along.T, dict(zip(dims, loss.per_dim.tolist(), strict=True))


def _descent(
    sources: Sequence[Tensor],
    rotation: Float[Tensor, "width width"],
    dims: Sequence[int],
    settings: FitSettings,
    on_step: Callable[[Step], object],
) -> Iterator[Float[Tensor, "width width"]]:
    """R after each step."""
    near = [nearest_rows(vectors, settings.neighbours) for vectors in sources]
    batches = neighbourhood_batches(near, anchors=settings.anchors, seed=settings.seed)
    free = _free_planes(dims, len(rotation))
    mean, square, eye = torch.zeros_like(rotation), torch.zeros_like(rotation), torch.eye(len(rotation))
    for number in range(1, settings.steps + 1):
        source, rows = next(batches)
        gradient, per_dim = slope(sources[source][rows], rotation, dims, settings.temperature)
        gradient.mul_(free)
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.lerp_(gradient.square(), 1 - _BETAS[1])
        direction = (mean / (1 - _BETAS[0] ** number)) / ((square / (1 - _BETAS[1] ** number)).sqrt() + _EPSILON)
        half = -_rate(settings, number) * direction
        # (I - S/2)^-1 (I + S/2) for the skew S is orthogonal, and exp(S) to second order.
        rotation = rotation @ torch.linalg.solve(eye - half, eye + half)
        # One Newton step towards the nearest orthogonal matrix: rounding does not add up.
        rotation = rotation @ (1.5 * eye - 0.5 * (rotation.T @ rotation))
        on_step(Step(number, source, per_dim))
        yield rotation


def _rate(settings: FitSettings, number: int) -> float:
    """The learning rate of a step: up over the warm-up, then down to 0 just after the last one."""
    left = (settings.steps + 1 - number) / max(1, settings.steps + 1 - settings.warmup)
    return settings.learning_rate * min(1.0, left, number / max(1, settings.warmup))


class _Best:
    """The candidate of the lowest loss on held-back rows; the last one if no rows are held back."""

    def __init__(
        self,
        sources: Sequence[Tensor],
        held_back: Sequence[Tensor] | None,
        dims: Sequence[int],
        settings: FitSettings,
        on_check: Callable[[Check], object],
    ) -> None:
        self.rotation, self._lowest = sources[0].new_empty(0), math.inf
        self._dims, self._temperature, self._on_check = dims, settings.temperature, on_check
        self._asked = [
            _neighbourhood(_unit_rows(held[:_MOST_ASKED], "held_back_by_source"), vectors, settings.neighbours)
            for held, vectors in zip(held_back or (), sources, strict=bool(held_back))
            if len(held) > 1
        ]

    def compare(self, step: int, *candidates: Tensor) -> None:
        """Keep the best of these and the one kept so far."""
        for candidate in candidates:
            if not self._asked:
                self.rotation = candidate
                continue
            check = Check(step, self._losses(candidate.float()))
            self._on_check(check)
            if check.loss < self._lowest:
                self.rotation, self._lowest = candidate, check.loss

    def _losses(self, rotation: Float[Tensor, "width width"]) -> dict[int, float]:
        each = torch.stack([self._of(rows, count, rotation) for rows, count in self._asked])
        return dict(zip(self._dims, each.mean(0).tolist(), strict=True))

    @torch.no_grad()
    def _of(self, rows: Tensor, count: int, rotation: Tensor) -> Float[Tensor, " dims"]:
        turned, own = rows @ rotation, torch.arange(count)
        return nested_distillation(
            turned[:count], turned, rows[:count], rows, dims=self._dims, temperature=self._temperature, self_index=own
        ).per_dim


def _neighbourhood(
    held: Float[Tensor, "k width"], learned: Float[Tensor, "n width"], neighbours: int
) -> tuple[Float[Tensor, "rows width"], int]:
    """The held-back rows, then the learned rows that are nearest to any of them; and how many the first are."""
    near = torch.cat([(part @ learned.T).topk(neighbours, dim=1).indices for part in torch.split(held, 1024)])
    return torch.cat([held, learned[torch.unique(near)]]), len(held)


def _unit_rows(vectors: Float[Tensor, "rows width"], place: str) -> Float[Tensor, "rows width"]:
    if not bool(torch.isfinite(vectors).all()):
        bad = (~torch.isfinite(vectors).all(1)).nonzero().squeeze(1).tolist()
        raise ValueError(f"{place}: rows {', '.join(map(str, bad[:5]))} hold NaN or infinity; allowed: finite numbers")
    return normalize(vectors.double(), dim=1, eps=torch.finfo(torch.float64).tiny).float()


def _common_width(sources: Sequence[Tensor]) -> int:
    widths = {vectors.shape[1] for vectors in sources}
    if len(widths) != 1:
        raise ValueError(f"vectors_by_source has widths {sorted(widths)}; allowed: one width for at least one source")
    return int(widths.pop())


def _blocks(dims: Sequence[int], width: int) -> list[slice]:
    bounds = [0, *dims, width]
    return [slice(start, end) for start, end in pairwise(bounds)]


def _free_planes(dims: Sequence[int], width: int) -> Float[Tensor, "width width"]:
    """1 for the planes whose turn changes a prefix in `dims`, 0 for those within a block."""
    free = torch.ones(width, width)
    for block in _blocks(dims, width):
        free[block, block] = 0
    return free


def _orthogonal(rotation: Float[Tensor, "width width"]) -> Float64[Tensor, "width width"]:
    """The orthogonal matrix nearest to `rotation`, in float64."""
    left, _, right = torch.linalg.svd(rotation.double())
    return left @ right


def _ordered_blocks(
    rotation: Float64[Tensor, "width width"], covariance: Float64[Tensor, "width width"], dims: Sequence[int]
) -> Float64[Tensor, "width width"]:
    """R with each block turned to its own principal axes: no prefix in `dims` is changed by it."""
    turned = rotation.clone()
    for block in _blocks(dims, len(rotation)):
        columns = rotation[:, block]
        turned[:, block] = columns @ principal_axes(columns.T @ covariance @ columns)
    return _orthogonal(turned)
