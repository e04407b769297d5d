"""Progress of a rotation: texts encoded, steps taken. On a terminal as it comes, in a log file every 15 seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from matryoshka_text.rotation import Check, Step

__all__ = ["LearningBar", "encoding_bar", "learning_bar"]


@contextmanager
def encoding_bar(*, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """To be told (done, all) texts."""
    with _bar("rotation: encoding", "text", shown=shown) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell


class LearningBar:
    """Steps, the newest loss at the smallest dim, and the newest loss of held-back texts."""

    def __init__(self, bar: "tqdm[Any]") -> None:
        self._bar, self._loss, self._held_back = bar, "", ""

    def step(self, step: Step) -> None:
        """One more step was taken."""
        dim, loss = next(iter(step.per_dim.items()))
        self._loss = f"loss at {dim} dims {loss:.3f}"
        self._show()
        self._bar.update()

    def check(self, check: Check) -> None:
        """Held-back texts were looked at."""
        self._held_back = f", held back {next(iter(check.per_dim.values())):.3f}" if check.per_dim else ""
        self._show()

    def _show(self) -> None:
        self._bar.set_postfix_str(self._loss + self._held_back, refresh=False)


@contextmanager
def learning_bar(steps: int, *, shown: bool) -> Iterator[LearningBar]:
    """To be told of each step and each check."""
    with _bar("rotation: learning", "step", total=steps, shown=shown) as bar:
        yield LearningBar(bar)


def _bar(what: str, unit: str, *, shown: bool, total: int | None = None) -> "tqdm[Any]":
    slow = 0.5 if sys.stderr.isatty() else 15
    return tqdm(total=total, desc=what, unit=unit, mininterval=slow, file=sys.stderr, disable=not shown)
