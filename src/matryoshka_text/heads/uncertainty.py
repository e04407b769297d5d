"""Factors of the dims that are learnt."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Uncertainty"]


class Uncertainty(nn.Module):
    """Learned factors of the dims: exp(-s) for each objective and dim, s = log variance, starting at 0.

    A loss L_m becomes exp(-s_m) L_m + s_m / 2 (Kendall, Gal and Cipolla, arXiv:1705.07115, eq. 10): a dim whose loss is
    large gets a smaller factor, and the second term keeps all of them from going to 0.
    """

    def __init__(self, objectives: Sequence[str], count: int) -> None:
        """One number for each of `count` dims of each objective."""
        super().__init__()
        self.log_variance = nn.ParameterDict({name: nn.Parameter(torch.zeros(count)) for name in objectives})

    def of(self, objective: str, places: Sequence[int]) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
        """The factors at these places among the dims, and what is added for them; both with gradient."""
        chosen = self.log_variance[objective][list(places)]
        return torch.exp(-chosen), chosen / 2

    def factors(self) -> dict[str, Float[Tensor, " k"]]:
        """The factors of all dims, by objective, without gradient."""
        return {name: torch.exp(-value.detach()) for name, value in self.log_variance.items()}
