"""A table as the geometry of an SVG: lines over a logarithmic axis of dims, in the picture's own units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matryoshka_text.evaluation.report.tables import Cell, Table, bands_of

__all__ = [
    "LEFT",
    "SHAPES",
    "TOP",
    "Chart",
    "Line",
    "Linear",
    "Log",
    "Point",
    "Tick",
    "chart",
    "round_range",
    "thinned",
]

# Outlines around (0, 0), so that lines are told apart without their colours.
SHAPES = (
    "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",
    "M-3-3h6v6h-6z",
    "M0-4L3.7 2.6h-7.4z",
    "M0-4L4 0 0 4-4 0z",
    "M0 4L3.7-2.6h-7.4z",
    "M-1.2-3.8h2.4v2.6h2.6v2.4h-2.6v2.6h-2.4v-2.6h-2.6v-2.4h2.6z",
)
LEFT, TOP = 38.0, 10.0
_RIGHT, _BOTTOM = 14.0, 34.0
_TICK_ROOM = 25.0


@dataclass(frozen=True)
class Point:
    """One score; `hollow` at a dim that was not trained, `said` is what a pointer over it shows."""

    x: float
    y: float
    hollow: bool
    said: str


@dataclass(frozen=True)
class Line:
    """One column: its points, and as polygons' points the bands of known intervals or draws."""

    number: int
    shape: str
    points: tuple[Point, ...]
    band: str

    @property
    def path(self) -> str:
        """The points of a polyline."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True)
class Tick:
    """A place on an axis; no words where they would touch the next ones."""

    at: float
    words: str


@dataclass(frozen=True)
class Chart:
    """A picture `width` x `height`; its plotting area is left < x < right, top < y < bottom."""

    title: str
    note: str
    width: float
    height: float
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    said: str
    axis: str = "dims (log scale)"

    left, top = LEFT, TOP

    @property
    def right(self) -> float:
        """Where the plotting area ends."""
        return self.width - _RIGHT

    @property
    def bottom(self) -> float:
        """Where the plotting area ends."""
        return self.height - _BOTTOM


def chart(table: Table, width: float = 300, height: float = 200) -> Chart:
    """The table's picture; the evaluated model's line comes last, to lie on top."""
    dims = table.dims
    low, high, step = round_range([x for own in table.cells for cell in own.values() for x in _extent(cell)])
    across = Log(dims, LEFT + 8, width - _RIGHT - 8)
    up = Linear(low, high, height - _BOTTOM, TOP)
    banded = bands_of(table)
    numbers = reversed(range(len(table.labels)))
    lines = tuple(_line(table, number, across, up, banded=number in banded) for number in numbers)
    count = round((high - low) / step)
    digits = max(0, -math.floor(math.log10(step)))
    heights = tuple(Tick(up(low + place * step), f"{low + place * step:.{digits}f}") for place in range(count + 1))
    places = thinned([Tick(across(dim), str(dim)) for dim in dims], across(table.widths[0]))
    return Chart(table.title, table.note, width, height, lines=lines, across=places, up=heights, said=_said(table))


class Log:
    """Numbers from the first to the last of them, to places from `start` to `end`, by their logarithm."""

    def __init__(self, numbers: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = math.log2(numbers[0]), math.log2(numbers[-1])
        self.start, self.end = start, end

    def __call__(self, number: float) -> float:
        """The number's place."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (self.end - self.start) * (math.log2(number) - self.low) / (self.high - self.low)


class Linear:
    """Numbers from `low` to `high` to places from `start` to `end`."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, number: float) -> float:
        """The number's place."""
        return self.start + (self.end - self.start) * (number - self.low) / (self.high - self.low)


def _extent(cell: Cell) -> tuple[float, ...]:
    return (*cell.draws, *(cell.interval or ()))


def round_range(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Round ends that hold all numbers, and a round step between them that makes three to six parts."""
    low, high = min(numbers), max(numbers)
    room = max(high - low, 1e-3 * max(abs(high), abs(low), 1.0))
    rough = room / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    start, end = math.floor(low / step) * step, math.ceil(high / step) * step
    return start, end if end > start else start + step, step


def thinned(ticks: Sequence[Tick], first: float) -> tuple[Tick, ...]:
    """The words at `first` (the model's full width), then from the right those that touch none already there."""
    taken = [first]
    for tick in reversed(ticks):
        if all(abs(tick.at - other) >= _TICK_ROOM for other in taken):
            taken.append(tick.at)
    return tuple(tick if tick.at in taken else Tick(tick.at, "") for tick in ticks)


def _line(table: Table, number: int, across: Log, up: Linear, *, banded: bool) -> Line:
    cells = sorted(table.cells[number].items())
    points = tuple(
        Point(
            round(across(dim), 1),
            round(up(cell.score), 1),
            number == 0 and table.interpolated(dim),
            f"{table.labels[number]}, {dim} dims: {_words(cell)}",
        )
        for dim, cell in cells
    )
    bands = [(across(dim), *ends) for dim, cell in cells if (ends := cell.band) is not None] if banded else []
    outline = [(x, up(low)) for x, low, _ in bands] + [(x, up(high)) for x, _, high in reversed(bands)]
    return Line(number, SHAPES[number % len(SHAPES)], points, " ".join(f"{x:.1f},{y:.1f}" for x, y in outline))


def _words(cell: Cell) -> str:
    words = f"{cell.score:.2f}"
    if cell.spread is not None:
        words += f", mean of {len(cell.draws)} draws, spread {cell.spread:.2f}"
    if cell.interval is not None:
        words += f", 95% interval {cell.interval[0]:.2f} to {cell.interval[1]:.2f}"
    return words


def _said(table: Table) -> str:
    """What the picture shows, for somebody who does not see it."""
    own = sorted(table.scores[0].items())
    others = f", beside {', '.join(table.labels[1:])}" if len(table.labels) > 1 else ""
    scores = "; ".join(f"{dim} dims {score:.2f}" for dim, score in own)
    return f"{table.title}, {table.note}, by dims: {table.labels[0]} {scores or 'has no score'}{others}"
