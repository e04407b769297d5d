"""How far a job is: a bar if somebody watches, now and then a line in the log otherwise."""

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

__all__ = ["Progress"]

log = logging.getLogger(__name__)

# Seconds between two lines if nobody watches a bar.
_EVERY = 30.0


class Progress:
    """Told of what is done; shows that, the total and the rate. Its last line is logged when the block ends well."""

    def __init__(self, what: str, unit: str, total: int | None = None, *, shown: bool, leave: bool = True) -> None:
        """`unit` is the plural of what is counted: texts, steps. `leave`: the bar stays when the block ends."""
        self.note = ""
        self._shown, self._what, self._unit, self._total = shown, what, unit, total
        watched = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._bar = tqdm(
            total=total, desc=what, unit=f" {unit}", mininterval=0.5, leave=leave, disable=not (shown and watched)
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
            self._tell()

    def __call__(self, more: int) -> None:
        """So many more are done."""
        self._done += more
        if not self._bar.disable:
            self._bar.set_postfix_str(self.note, refresh=False)
        self._bar.update(more)
        now = time.monotonic()
        if self._bar.disable and now - self._told >= _EVERY:
            self._told = now
            self._tell()

    def reached(self, done: int, total: int) -> None:
        """So many are done, of a total that is known only now."""
        self._bar.total = self._total = total
        self(done - self._done)

    def _tell(self) -> None:
        if self._shown:
            rate = self._done / max(time.monotonic() - self._start, 1e-9)
            of = "" if self._total is None else f" of {self._total:,}"
            note = f", {self.note}" if self.note else ""
            log.info("%s: %s", self._what, f"{self._done:,}{of} {self._unit}, {rate:.1f} {self._unit}/s{note}")
