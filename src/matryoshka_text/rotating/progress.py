"""Progress on a terminal: texts encoded, steps taken."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from matryoshka_text.rotation import Step

__all__ = ["encoding_bar", "fitting_bar"]


@contextmanager
def encoding_bar(*, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """To be told (done, all) texts."""
    with tqdm(desc="encoding", unit=" texts", disable=_hidden(shown)) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell


@contextmanager
def fitting_bar(steps: int, *, shown: bool) -> Iterator[Callable[[Step], None]]:
    """To be told of each step; it shows the loss at the smallest dim."""
    with tqdm(total=steps, desc="learning", unit=" steps", disable=_hidden(shown)) as bar:

        def tell(step: Step) -> None:
            dim, loss = next(iter(step.per_dim.items()))
            bar.set_postfix_str(f"loss at {dim}: {loss:.3f}", refresh=False)
            bar.update()

        yield tell


def _hidden(shown: bool) -> bool:
    return not (shown and sys.stderr.isatty())
