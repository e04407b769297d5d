"""Steps prepared by another thread: in order, with its errors, and gone when it is left."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from matryoshka_text.training.prefetch import Prefetch
from matryoshka_text.training.streams import Prepared


class Recorder:
    """A stream that notes what it prepares, and on which thread."""

    name = "pairs"

    def __init__(self, breaks_at: int | None = None) -> None:
        self.seen: list[int] = []
        self.threads: set[str] = set()
        self.breaks_at = breaks_at

    def places(self, rows: Any) -> list[str]:
        return []

    def contribute(self, step: int, prepared: Prepared) -> Any:
        raise AssertionError("nothing is computed ahead")

    def prepare(self, step: int, batches: list[Any]) -> Prepared:
        if step == self.breaks_at:
            raise ValueError(f"row {step} cannot be read")
        self.seen.append(step)
        self.threads.add(threading.current_thread().name)
        return Prepared(batches, step * 10)


def _steps(count: int) -> Iterator[tuple[int, dict[str, list[list[int]]]]]:
    for step in range(count):
        yield step, {"pairs": [[step, step + 1]]}


def test_steps_come_in_order_with_what_was_prepared_of_them() -> None:
    stream = Recorder()
    with Prefetch(_steps(20), {"pairs": stream}) as work:
        found = [(step, prepared["pairs"].rows, prepared["pairs"].inputs) for step, prepared in work]
    assert found == [(step, [[step, step + 1]], step * 10) for step in range(20)]
    assert stream.threads == {"mtext-prefetch"}


def test_an_error_is_raised_where_its_step_would_have_come() -> None:
    found = []
    with pytest.raises(ValueError, match="row 3"), Prefetch(_steps(9), {"pairs": Recorder(breaks_at=3)}) as work:
        for step, _ in work:
            found.append(step)
    assert found == [0, 1, 2]


def test_only_a_few_steps_are_held() -> None:
    stream = Recorder()
    with Prefetch(_steps(1000), {"pairs": stream}) as work:
        next(iter(work))
        deadline = time.monotonic() + 5
        while len(stream.seen) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        # One was taken, two wait, one is in the thread's hand.
        assert len(stream.seen) == 4


def test_leaving_ends_the_thread_though_steps_are_left() -> None:
    before = threading.active_count()
    with Prefetch(_steps(10**9), {"pairs": Recorder()}) as work:
        next(iter(work))
    assert threading.active_count() == before
