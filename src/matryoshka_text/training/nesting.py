"""At which prefixes a step reads its losses, with which factors, and after which layers."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from matryoshka_text.heads.uncertainty import Uncertainty
from matryoshka_text.objectives.batch import Nesting
from matryoshka_text.recipe import LayerPairs, RandomLayer, Recipe

__all__ = ["LayerPlan", "Nestings"]

# Keep the draws of one step apart from each other.
_DIMS, _LAYER = 1, 2


class Nestings:
    """The prefixes of each step: a pure function of seed and step, so the same in every process and after a resume."""

    def __init__(self, recipe: Recipe, learned: Uncertainty | None) -> None:
        """For the recipe's dims, factors and draws."""
        self.dims, self.factors, self.how, self.seed = recipe.lengths, recipe.factors, recipe.dims_per_step, recipe.seed
        self.learned = learned
        assert len(self.dims) == len(self.factors)

    def at(
        self, step: int, objective: str, device: torch.device, within: Sequence[int] | None = None
    ) -> tuple[Nesting, Tensor]:
        """The prefixes and factors of `objective` in `step`, and the sum that learned factors add to the loss.

        `within` are the only lengths allowed (None: all). Where lengths are drawn, factors grow by what the draw leaves
        out, so that the expected gradient is that of all lengths.
        """
        allowed = [i for i, dim in enumerate(self.dims) if within is None or dim in within]
        places, boosts = self._drawn(step, allowed)
        factors = torch.tensor([self.factors[i] * boost for i, boost in zip(places, boosts, strict=True)])
        added = torch.zeros(())
        if self.learned is not None:
            learned, plus = self.learned.of(objective, places)
            added = (factors.to(plus.device, non_blocking=True) * plus).sum()
            factors = factors.to(learned.device, non_blocking=True) * learned
        dims = tuple(self.dims[i] for i in places)
        return Nesting(dims, factors.to(device, non_blocking=True)), added.to(device, non_blocking=True)

    def unweighted(self, step: int, device: torch.device, within: Sequence[int] | None = None) -> Nesting:
        """The prefixes of `step`, their factors making up for the draw only."""
        places, boosts = self._drawn(step, [i for i, dim in enumerate(self.dims) if within is None or dim in within])
        return Nesting(tuple(self.dims[i] for i in places), torch.tensor(boosts).to(device, non_blocking=True))

    def _drawn(self, step: int, allowed: list[int]) -> tuple[list[int], list[float]]:
        count = len(allowed)
        if self.how == "all" or count < 2:
            return allowed, [1.0] * count
        rng = np.random.Generator(np.random.PCG64([self.seed, step, _DIMS]))
        if self.how == "nested_dropout":
            return [allowed[int(rng.integers(count))]], [float(count)]
        return [allowed[int(rng.integers(count - 1))], allowed[-1]], [float(count - 1), 1.0]


class LayerPlan:
    """Which layers a step reads in addition to the last, at which lengths."""

    def __init__(self, section: RandomLayer | LayerPairs | None, depth: int, seed: int) -> None:
        """`depth` is the number of layers; `section` has been checked against it."""
        self.section, self.depth, self.seed = section, depth, seed

    @property
    def layers(self) -> tuple[int, ...]:
        """Every layer that is trained, ascending; the last is the depth."""
        if self.section is None:
            return (self.depth,)
        if isinstance(self.section, LayerPairs):
            return tuple(layer for layer, _ in self.section.pairs)
        return tuple(range(self.section.lowest, self.depth + 1))

    def at(self, step: int) -> tuple[int, ...]:
        """The layers of one step, ascending, the last among them."""
        if isinstance(self.section, RandomLayer):
            rng = np.random.Generator(np.random.PCG64([self.seed, step, _LAYER]))
            return (int(rng.integers(self.section.lowest, self.depth)), self.depth)
        return self.layers

    def lengths(self, layer: int) -> tuple[int, ...] | None:
        """The only lengths at which `layer` is read; None for all."""
        if isinstance(self.section, LayerPairs):
            return tuple(dim for one, dim in self.section.pairs if one == layer)
        return None

    def factor(self, layer: int, layers: int) -> float:
        """The factor of the layer's losses; the layers below the last share theirs."""
        if self.section is None or layer == self.depth:
            return 1.0
        return self.section.weight / max(layers - 1, 1)

    @property
    def kl_weight(self) -> float:
        """The factor of the divergence from the last layer; 0 without layers."""
        return 0.0 if self.section is None else self.section.kl_weight

    @property
    def kl_temperature(self) -> float:
        """What divides the cosines of that divergence; 1 without layers, which have none."""
        return 1.0 if self.section is None else self.section.kl_temperature
