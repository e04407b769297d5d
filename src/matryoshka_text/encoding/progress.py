"""How far an encoding is: a bar on a terminal, now and then a line elsewhere."""

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

__all__ = ["Progress"]

log = logging.getLogger(__name__)

# Seconds between two lines where nobody watches a bar.
_EVERY = 30.0


class Progress:
    """Told of each pass's texts; shows texts done, texts in all, and texts a second."""

    def __init__(self, total: int | None, *, shown: bool, share: str) -> None:
        """`share` says whose texts are counted: one process's, where there are several."""
        self._shown, self._share, self._total = shown, share, total
        self._bar = tqdm(
            total=total, desc=f"encoding{share}", unit=" texts", disable=not (shown and sys.stderr.isatty())
        )
        self._done, self._start = 0, time.monotonic()
        self._told = self._start

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if kind is None and self._done:
            self._tell("encoded")

    def __call__(self, texts: int) -> None:
        """So many texts more are done."""
        self._done += texts
        self._bar.update(texts)
        now = time.monotonic()
        if self._shown and self._bar.disable and now - self._told >= _EVERY:
            self._told = now
            self._tell("encoding")

    def _tell(self, verb: str) -> None:
        if self._shown:
            rate = self._done / max(time.monotonic() - self._start, 1e-9)
            of = "" if self._total is None else f" of {self._total:,}"
            log.info("%s%s: %s%s texts, %.1f texts/s", verb, self._share, f"{self._done:,}", of, rate)
