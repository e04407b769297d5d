"""Intervals as a comparison of items gives them."""

from collections.abc import Callable, Iterable

import pytest

Interval = tuple[float, float]
Place = tuple[str, str]
Asked = tuple[tuple[Place, ...], int, int]


class Known:
    """Intervals by tasks, dim and column; what it was asked for is kept in `asked`."""

    def __init__(
        self, mean: Callable[..., Interval | None], score: Callable[..., Interval | None] = lambda *_: None
    ) -> None:
        self._mean, self._score = mean, score
        self.asked: list[Asked] = []

    def mean(self, tasks: Iterable[Place], dim: int, column: int) -> Interval | None:
        places = tuple(tasks)
        self.asked.append((places, dim, column))
        return self._mean(places, dim, column)

    def score(self, tasks: Iterable[Place], dim: int, column: int) -> Interval | None:
        return self._score(tuple(tasks), dim, column)


@pytest.fixture
def known() -> Callable[..., Known]:
    """known(mean, score): functions of places, dim and column as an object that tables take."""
    return Known
