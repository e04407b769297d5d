"""Which rows make which batch: decided once, for all processes, from the seed only."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from matryoshka_text.data.columns import TextColumn
from matryoshka_text.errors import DataError

__all__ = ["BatchPlan", "plan_batches", "plan_rows"]

# A batch that cannot take a row (it holds one of its texts already) stays open next to the next ones: rows that share a
# premise come one after another once they are sorted by length.
_MOST_OPEN = 16


@dataclass(frozen=True)
class BatchPlan:
    """One epoch: the rows of every global batch, and how many rows fit into none."""

    batches: Int[np.ndarray, "batches size"]
    left_over: int

    def __len__(self) -> int:
        return len(self.batches)


def plan_batches(
    columns: Sequence[TextColumn],
    *,
    size: int,
    seed: int,
    epoch: int,
    bucket: int = 1,
    groups: Int[np.ndarray, " rows"] | None = None,
    longest: int = 4096,
    distinct: bool = True,
    key: str = "batch.size",
) -> BatchPlan:
    """GLOBAL batches of `size` rows in which no text occurs twice (case and blanks aside).

    Every process calls this with the same arguments and takes its slice of each batch, so the process count changes
    nothing. `bucket` batches at a time are filled from rows sorted by length (1: no sorting), texts above `longest`
    characters counting alike. With `groups`, a batch takes rows of one group only. Rows that fit into no full batch
    wait for the next epoch's shuffle. With `distinct` false, texts may occur twice: no row of such a batch is another
    one's wrong answer. `DataError` if not even one batch can be filled; `key` is the recipe's key of the size, for
    its message.
    """
    lengths = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        lengths += np.minimum(column.lengths, longest)
    if not distinct:
        return plan_rows(lengths, size=size, seed=seed, epoch=epoch, bucket=bucket, groups=groups, key=key)
    keys = np.stack([column.keys for column in columns], axis=1)
    usable = _usable(keys)
    texts = _Repeated(keys, usable)
    rng = np.random.Generator(np.random.PCG64([seed, epoch]))
    found: list[np.ndarray] = []
    for rows in _of_groups(rng.permutation(usable), groups):
        found.extend(_Filling(texts, size).fill(_sorted_windows(rows, lengths, size * bucket)))
    if not found:
        raise DataError(
            f"{key} is {size}, but the data make no batch of {size} rows without a repeated text "
            f"({len(usable)} usable rows of {len(columns[0])}); use a smaller {key}, or more data"
        )
    batches = np.asarray(found)[rng.permutation(len(found))]
    return BatchPlan(batches, left_over=len(columns[0]) - batches.size)


def plan_rows(
    lengths: Sequence[int] | Int[np.ndarray, " rows"],
    *,
    size: int,
    seed: int,
    epoch: int,
    bucket: int = 1,
    groups: Int[np.ndarray, " rows"] | None = None,
    key: str = "batch.size",
) -> BatchPlan:
    """GLOBAL batches of `size` rows of any content, of which only the lengths are known; otherwise as `plan_batches`.

    What is left over (fewer rows than a batch, of each group) is drawn anew each epoch.
    """
    known = np.asarray(lengths)
    rng = np.random.Generator(np.random.PCG64([seed, epoch]))
    found: list[list[int]] = []
    for rows in _of_groups(rng.permutation(len(known)), groups):
        # Taken off before sorting: else the longest rows would be left over every time.
        for window in _sorted_windows(rows[: len(rows) - len(rows) % size], known, size * bucket):
            found.extend(window[start : start + size] for start in range(0, len(window), size))
    if not found:
        where = "" if groups is None else " of one source"
        raise DataError(
            f"{key} is {size}, but the data make no batch of {size} rows{where} ({len(known)} rows in all); "
            f"use a smaller {key}, or more data"
        )
    batches = np.asarray(found)[rng.permutation(len(found))]
    return BatchPlan(batches, left_over=len(known) - batches.size)


def _of_groups(order: np.ndarray, groups: np.ndarray | None) -> Iterator[np.ndarray]:
    """The rows of each group, in their order; all of them where there are no groups."""
    if groups is None:
        yield order
        return
    for group in np.unique(groups):
        yield order[groups[order] == group]


def _usable(keys: Int[np.ndarray, "rows columns"]) -> Int[np.ndarray, " usable"]:
    """The rows in which no text repeats."""
    ordered = np.sort(keys, axis=1)
    return np.flatnonzero(np.diff(ordered, axis=1).all(axis=1))


class _Repeated:
    """The keys of rows that share a text with another row: only these can be kept apart."""

    def __init__(self, keys: Int[np.ndarray, "rows columns"], usable: Int[np.ndarray, " usable"]) -> None:
        ordered = np.sort(keys[usable], axis=None)
        twice = np.unique(ordered[np.flatnonzero(np.diff(ordered) == 0)])
        self._keys, self._any = keys, np.atleast_1d(np.isin(keys, twice).any(axis=1))

    def of(self, row: int) -> list[int]:
        """Those of the row; none if no other row has one of its texts."""
        found: list[int] = self._keys[row].tolist() if self._any[row] else []
        return found


def _sorted_windows(rows: np.ndarray, lengths: np.ndarray, window: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), window):
        part = rows[start : start + window]
        yield (part if window <= 1 else part[np.argsort(lengths[part], kind="stable")]).tolist()


@dataclass
class _Filling:
    """First fit: each row goes into the first open batch that holds none of its texts."""

    texts: _Repeated
    size: int
    full: list[np.ndarray] = field(default_factory=list)
    _open: list[tuple[list[int], set[int]]] = field(default_factory=list)

    def fill(self, windows: Iterable[list[int]]) -> list[np.ndarray]:
        """The full batches of the rows in these windows."""
        waiting: list[int] = []
        for window in windows:
            # Only as many waiting rows as the window has are tried again: where half the rows share one reply, trying
            # all of them each time would take quadratic time.
            again, later = waiting[: len(window)], waiting[len(window) :]
            waiting = later + self._place(again + window)
        while waiting and (left := self._place(waiting)) != waiting:
            waiting = left
        return self.full

    def _place(self, rows: list[int]) -> list[int]:
        """Put the rows into batches; those that fit into no open one come back."""
        waiting = []
        for row in rows:
            own = self.texts.of(row)
            home = next((batch for batch in self._open if batch[1].isdisjoint(own)), None)
            if home is None:
                if len(self._open) >= _MOST_OPEN:
                    waiting.append(row)
                    continue
                home = ([], set())
                self._open.append(home)
            home[0].append(row)
            home[1].update(own)
            if len(home[0]) == self.size:
                self.full.append(np.asarray(home[0]))
                self._open.remove(home)
        return waiting
