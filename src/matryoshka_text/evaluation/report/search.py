"""Ways of searching: a table and two pictures for each model on each part of a task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.report.chart import (
    LEFT,
    SHAPES,
    TOP,
    Chart,
    Line,
    Linear,
    Log,
    Point,
    Tick,
    round_range,
    thinned,
)
from matryoshka_text.evaluation.report.grids import NONE, Grid
from matryoshka_text.evaluation.searching.rows import SearchRow
from matryoshka_text.rows import ON_CORPUS

__all__ = ["AXES", "SEARCH_ABOUT", "SERIES", "SearchPart", "log_ticks", "search_parts", "series_of"]

SEARCH_ABOUT = (
    "Ways of searching a task's documents by stored vectors. Quality x 100 over all judged queries: nDCG@10; mAP@10 as "
    "in the Matryoshka paper, the mean over queries of sum P(i) rel(i) / 10; top-1, how often the first document is "
    "relevant; recall@10 of the exact top 10 at full width. Work of one query: millions of multiply-adds, as the paper "
    "counts them (bits need none for the shortlist, so such plans have no number), and bytes of vectors read. Time: "
    "the median of single queries in FAISS with one thread, with Python's share of some hundredths of a millisecond. "
    "Rotations fitted on a task's own documents are shown separately: they are no property of the model."
)
SERIES = (
    "single shots",
    "200 by a prefix, then full width",
    "the same, prefix in int8",
    "the same, prefix in bits",
    "funnels",
    "tuned plan",
    "AdANNS, 1 list",
    "AdANNS, several lists",
)
# What stands on the horizontal axis of each picture.
AXES = (("mflops", "million multiply-adds a query (log scale)"), ("milliseconds", "milliseconds a query (log scale)"))
_WIDTH, _HEIGHT = 380.0, 250.0
_PRECISIONS = {"float32": 1, "int8": 2, "binary": 3}


@dataclass(frozen=True)
class SearchPart:
    """The ways of one model on one part of a task, by its own dims or by a rotation fitted on the documents.

    `exact`: milliseconds of a search at full width.
    """

    title: str
    rows: tuple[SearchRow, ...]
    exact: float

    @property
    def about(self) -> str:
        """What was searched, and on which machine."""
        one = self.rows[0]
        return (
            f"{one.documents:,} documents, {one.queries:,} judged queries, {one.split} split; {one.threads} thread of "
            f"{one.machine}"
        )

    @property
    def series(self) -> list[tuple[int, str]]:
        """Number and name of the lines there are."""
        return [(number, SERIES[number]) for number in sorted({series_of(row) for row in self.rows})]

    @cached_property
    def charts(self) -> list[Chart]:
        """nDCG@10 by work and by time."""
        return [_chart(self, axis, words) for axis, words in AXES]

    @cached_property
    def grid(self) -> Grid:
        """All ways; * where none is better and faster."""
        header = ("way", "nDCG@10", "mAP@10", "top-1", "recall@10", "MFLOPs", "kB read", "ms", "times as fast")
        front = _front(self.rows)
        lines = []
        for row in self.rows:
            quality = (row.ndcg, row.map, row.top1, row.recall)
            costs = (row.mflops, row.bytes_read / 1000, row.milliseconds, self.exact / row.milliseconds)
            name = f"{_name(row)}\N{NO-BREAK SPACE}*" if row in front else _name(row)
            lines.append((name, *(f"{one:.2f}" for one in quality), *map(_figure, costs)))
        notes = ["* none of the others is at least as good by nDCG@10 and faster"]
        notes += [f"tuned plan: {row.note}; quality is over all queries" for row in self.rows if row.kind == "tuned"]
        return Grid(self.title, header, tuple(lines), tuple(notes))


def search_parts(plan: Plan, rows: Sequence[SearchRow]) -> list[SearchPart]:
    """A part for each group of rows, in their order; what is fitted on the documents says so in its title."""
    labels = {(one.weights, one.layers): one.label for one in plan.subjects}
    found = []
    exact = 0.0
    for _, group in groupby(rows, key=lambda row: row.group):
        ways = tuple(group)
        one = ways[0]
        if one.rotation is None:
            exact = next(row.milliseconds for row in ways if row.kind == "single" and row.dim == row.width)
        subset = "" if one.subset == "default" else f" ({one.subset})"
        rotated = "" if one.rotation is None else f" rotated{ON_CORPUS}"
        title = f"{one.task}{subset} · {labels[one.weights, one.layers]}{rotated}"
        found.append(SearchPart(title, ways, exact))
    return found


def series_of(row: SearchRow) -> int:
    """The number of the row's line in `SERIES`."""
    if row.kind == "adaptive":
        return _PRECISIONS[row.precision]
    if row.lists is not None:
        return 6 if row.lists.probes == 1 else 7
    return {"single": 0, "funnel": 4, "tuned": 5}[row.kind]


def _name(row: SearchRow) -> str:
    if row.kind == "single":
        return f"single shot, {row.name}"
    if row.kind == "tuned" and row.plan is not None:
        return f"tuned to {row.name}: {row.plan.model_copy(update={'measured': None})}"
    return f"{row.name}, then {row.width} dims" if row.kind != "funnel" else row.name


def _front(rows: Sequence[SearchRow]) -> list[SearchRow]:
    """Those that none of the others beats in time without being worse."""
    return [
        row
        for row in rows
        if not any(
            other.ndcg >= row.ndcg
            and other.milliseconds <= row.milliseconds
            and (other.ndcg, other.milliseconds) != (row.ndcg, row.milliseconds)
            for other in rows
        )
    ]


def _figure(number: float | None) -> str:
    """Three digits, and no exponent."""
    if number is None:
        return NONE
    return f"{number:,.0f}" if number >= 100 else f"{number:#.3g}".rstrip(".") if number >= 1e-3 else f"{number:.5f}"


def _chart(part: SearchPart, axis: str, words: str) -> Chart:
    placed = [(row, x) for row in part.rows if (x := getattr(row, axis)) is not None]
    low, high, step = round_range([row.ndcg for row, _ in placed])
    numbers = sorted(x for _, x in placed)
    note = f"nDCG@10 x 100 by {words.removesuffix(' (log scale)')}"
    picture = Chart(
        part.title,
        note,
        _WIDTH,
        _HEIGHT,
        lines=(),
        across=(),
        up=(),
        said=f"{part.title}: {note}; see the table",
        axis=words,
    )
    across = Log((numbers[0], numbers[-1]), LEFT + 8, picture.right - 8)
    up = Linear(low, high, picture.bottom, TOP)
    lines = []
    for number in reversed(range(len(SERIES))):
        points = tuple(
            Point(round(across(x), 1), round(up(row.ndcg), 1), False, f"{_name(row)}: {row.ndcg:.2f} at {_figure(x)}")
            for row, x in placed
            if series_of(row) == number
        )
        lines.append(Line(number, SHAPES[number % len(SHAPES)], points, ""))
    ticks = [Tick(across(x), f"{x:g}") for x in log_ticks(numbers[0], numbers[-1])]
    heights = [
        Tick(up(low + place * step), f"{low + place * step:g}") for place in range(round((high - low) / step) + 1)
    ]
    shown = thinned(ticks, ticks[-1].at) if ticks else ()
    return replace(picture, lines=tuple(lines), across=shown, up=tuple(heights))


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between the two."""
    every = [float(f"{digit}e{power}") for power in range(-7, 8) for digit in (1, 2, 5)]
    return [one for one in every if low <= one <= high]
