"""The inputs of the next steps, formed while the present one is computed."""

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from matryoshka_text.training.batches import StepRows
from matryoshka_text.training.streams import Prepared, Stream

__all__ = ["Prefetch", "Work"]

Work = tuple[int, dict[str, Prepared]]

# Forming a step is far faster than computing it: more would only hold memory.
_WAITING = 2


class Prefetch:
    """Each step with what its streams prepare of it, formed by a thread of its own (tokenizers let go of the GIL).

    A context manager that is iterated once; leaving it stops the thread. What goes wrong in the thread is raised where
    the step would have come.
    """

    def __init__(self, steps: Iterable[StepRows], streams: Mapping[str, Stream]) -> None:
        """Only the thread draws the steps."""
        self._steps, self._streams = steps, streams
        self._waiting: queue.Queue[Work | BaseException | None] = queue.Queue(maxsize=_WAITING)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mtext-prefetch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Work]:
        while (item := self._waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _work(self) -> None:
        try:
            for step, batches in self._steps:
                self._put((step, {name: self._streams[name].prepare(step, [*rows]) for name, rows in batches.items()}))
                if self._left.is_set():
                    return
            self._put(None)
        except BaseException as error:  # carried over to the thread that waits for it
            self._put(error)

    def _put(self, item: Work | BaseException | None) -> None:
        while not self._left.is_set():
            try:
                return self._waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
