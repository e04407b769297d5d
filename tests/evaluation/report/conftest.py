"""Intervals as a comparison of items gives them."""

from collections.abc import Callable, Iterable, Sequence

import pytest

from matryoshka_text.rows import Row
from tests import builders

Interval = tuple[float, float]
Place = tuple[str, str]
Asked = tuple[tuple[Place, ...], int, int]


class Known:
    """Intervals by tasks, dim and column; what it was asked for is kept in `asked`, and its weights."""

    def __init__(
        self, mean: Callable[..., Interval | None], score: Callable[..., Interval | None] = lambda *_: None
    ) -> None:
        self._mean, self._score = mean, score
        self.asked: list[Asked] = []
        self.weights: list[Sequence[float] | None] = []

    def mean(
        self, tasks: Iterable[Place], dim: int, column: int, weights: Sequence[float] | None = None
    ) -> Interval | None:
        places = tuple(tasks)
        self.asked.append((places, dim, column))
        self.weights.append(weights)
        return self._mean(places, dim, column)

    def score(
        self, tasks: Iterable[Place], dim: int, column: int, weights: Sequence[float] | None = None
    ) -> Interval | None:
        return self._score(tuple(tasks), dim, column)


@pytest.fixture
def known() -> Callable[..., Known]:
    """known(mean, score): functions of places, dim and column as an object that tables take."""
    return Known


@pytest.fixture
def row() -> Callable[..., Row]:
    """row(weights, task, score): a row at 8 dims."""
    return lambda weights, task, score: builders.row(weights, task, 8, score)
