"""Tables to grids of words: the summary, the differences to one column, what keeps how much, and one task in full."""

from collections.abc import Sequence
from dataclasses import dataclass

from matryoshka_text.evaluation.report.tables import KEPT, KINDS, Table, type_means

__all__ = ["NONE", "OF_TASKS", "Grid", "Overview", "detail", "points", "score_words", "star_words"]

OF_TASKS = (
    "of a mean: the items of each of its tasks are drawn again, each task's for itself unless they are the same ones; "
    "the tasks stay as they are"
)
_CLUSTERING = "Clustering"
_FEW = 6


def star_words(shown: Sequence[Table], others: Sequence[int]) -> list[str]:
    """What the intervals of these tables' differences to these columns are made of; [] if none is known."""
    every = [one for one in shown if one.main]
    gaps = [
        (one, dim, other, gap) for one in every for other in others for dim in one.dims if (gap := one.gap(dim, other))
    ]
    known = [(one, dim, other, gap) for one, dim, other, gap in gaps if gap.interval is not None]
    if not known:
        return []
    found = ["* real: the 95% paired bootstrap interval of the difference does not hold 0"]
    if any(not one.task for one, *_ in known):
        found.append(OF_TASKS)
    draws = [len(one.cells[other][dim].draws) for one, dim, other, _ in known]
    if max(draws) > 1:
        found.append("of a method that draws: the draws are drawn again with the items" + _of_few(draws))
    if any(one.type == _CLUSTERING and gap.real for one, _, _, gap in known):
        found.append(
            "of clustering: the items are the task's few experiments or sets (mostly ten), not its texts, so that its "
            "stars are the least certain"
        )
    if len(known) < len(gaps):
        found.append("not every difference has a known interval")
    return found


def _of_few(draws: Sequence[int]) -> str:
    """What draws are too few for: the lowest of three, or the highest, makes up a round too often to be left out."""
    return ", of so few hardly beyond their own range" if any(1 < count < _FEW for count in draws) else ""


NONE = "-"
_UNTRAINED = "°"
# As the tables of the MTEB paper (arXiv:2210.07316) shorten them.
_SHORT = {
    "Classification": "Class.",
    "Clustering": "Clust.",
    "PairClassification": "Pair-\nClass.",
    "MultilabelClassification": "Multi-\nClass.",
    "Reranking": "Rerank.",
    "Retrieval": "Retr.",
    "InstructionReranking": "Instr.-\nRerank.",
    "InstructionRetrieval": "Instr.-\nRetr.",
    "Summarization": "Summ.",
    "BitextMining": "Bitext.",
    "MaskedText": "Masked",
    KINDS: "Over\nkinds",
}


@dataclass(frozen=True)
class Grid:
    """Words in rows and columns; `notes` explains the marks that occur in it. The first column is its rows' name."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


class Overview:
    """What is said of all tasks together."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tasks = [table for table in tables if table.main and table.task]
        self.types = type_means(self.tasks)
        # Over tasks, then over kinds where that is another number.
        self.overall = [table for table in tables if table.main and not table.task]
        self.mean = self.overall[0] if self.overall else None

    @property
    def whole(self) -> Table:
        """The mean, or of a single task its table."""
        return self.mean or self.tasks[0]

    @property
    def others(self) -> list[int]:
        """The numbers of the columns that the model is compared with."""
        return list(range(1, len(self.whole.labels)))

    @property
    def means(self) -> list[Table]:
        """The types that have several tasks: of one task the mean is its own table again."""
        return [one for one in self.types if len(one.places) > 1]

    def scores(self, across: Sequence[Table], *, short: bool = False) -> Grid:
        """Dims down and the given tables across, then the means, and the mean over tasks' share of the full width."""
        whole = self.whole
        shown = [*across, *self.overall]
        header = ("dim", whole.size_head, *_heads(shown, short), "share of full width")
        rows = tuple(
            (
                _dim(whole, dim),
                f"{whole.bytes_of(dim):,}",
                *(score_words(one, dim) for one in shown),
                _share(whole, dim),
            )
            for dim in sorted({dim for one in shown for dim in one.scores[0]})
        )
        return Grid(f"{whole.labels[0]}: {_over(self)}", header, rows, _untrained(whole, rows))

    def differences(self, other: int, across: Sequence[Table], *, short: bool = False) -> Grid:
        """Dims down and the given tables across: points the model is above column number `other`."""
        whole = self.whole
        shown = [*across, *self.overall]
        dims = sorted({dim for one in shown for dim in one.dims})
        every = [(dim, tuple(points(one, dim, other) for one in shown)) for dim in dims]
        rows = tuple(
            (_dim(whole, dim), f"{whole.bytes_of(dim, other):,}", *cells)
            for dim, cells in every
            if any(cell != NONE for cell in cells)
        )
        theirs = whole.labels[other]
        precision = whole.precisions[other] if whole.precisions else "float32"
        title = f"{whole.labels[0]} against {theirs}: points above it (+) or below it (-)"
        notes = _real([other], shown)
        if not rows:
            notes = (f"{theirs} has no score at a dim at which {whole.labels[0]} has one",)
        size = "bytes a vector" if precision == "float32" else f"bytes in {precision}"
        return Grid(title, ("dim", size, *_heads(shown, short)), rows, notes)

    def kept(self, below: Sequence[Table]) -> Grid:
        """The smallest scored dims that keep 99, 95 and 90% of the full width's score, as every larger one does: of the
        means and of `below`.
        """
        shown = [*self.overall, *below]
        rows = tuple(
            (one.title, *(NONE if (dim := one.kept(percent)) is None else str(dim) for percent in KEPT))
            for one in shown
        )
        header = ("smallest dim that keeps", *(f"{percent}%" for percent in KEPT))
        title = f"{self.whole.labels[0]}: smallest scored dim by share of full width kept, there and at all larger ones"
        return Grid(title, header, rows)


def detail(table: Table, others: Sequence[int] | None = None, *, intervals: bool = False) -> Grid:
    """One task: the model's scores and shares, then of each other column the score and the difference to it."""
    others = range(1, len(table.labels)) if others is None else others
    ours = ["score", "share of full width"] if table.main else ["perplexity"]
    compared = [word for other in others for word in (table.labels[other], "difference")]
    rows = []
    for dim in sorted({dim for column in (0, *others) for dim in table.cells[column]}):
        own = [_dim(table, dim), f"{table.bytes_of(dim):,}", score_words(table, dim, intervals=intervals)]
        own += [_share(table, dim)] if table.main else []
        for other in others:
            own += [score_words(table, dim, other, intervals=intervals), points(table, dim, other)]
        rows.append(tuple(own))
    notes = list(_real(others, [table]))
    drawn = any(cell.spread is not None for other in others for cell in table.cells[other].values())
    notes += ["in brackets: largest - smallest draw"] if drawn else []
    known = intervals and any(cell.interval for own in table.cells for cell in own.values())
    of_tasks = "" if table.task else f"; {OF_TASKS}"
    notes += [f"in square brackets: 95% bootstrap interval{of_tasks}"] if known else []
    words = tuple(dict.fromkeys((*notes, *_untrained(table, rows))))
    title = f"{table.title}: {table.labels[0]} ({table.note})"
    return Grid(title, ("dim", table.size_head, *ours, *compared), tuple(rows), words)


def score_words(table: Table, dim: int, column: int = 0, *, intervals: bool = False) -> str:
    """The score, of several draws with their spread."""
    cell = table.cells[column].get(dim)
    if cell is None:
        return NONE
    known = f" [{cell.interval[0]:.2f}, {cell.interval[1]:.2f}]" if intervals and cell.interval else ""
    return f"{cell.score:.2f}" + ("" if cell.spread is None else f" ({cell.spread:.2f})") + known


def points(table: Table, dim: int, other: int) -> str:
    """The difference with its sign, and * where its interval does not hold 0."""
    gap = table.gap(dim, other)
    return NONE if gap is None else f"{gap.points:+.2f}" + ("*" if gap.real else "")


def _over(found: Overview) -> str:
    if found.mean is None:
        return found.tasks[0].note
    kinds = "".join(f"; {one.title}: each kind of task counts once" for one in found.overall[1:])
    return found.mean.note + kinds


def _heads(shown: Sequence[Table], short: bool) -> list[str]:
    return [_SHORT.get(one.title, one.title) if short else one.title for one in shown]


def _dim(table: Table, dim: int) -> str:
    return f"{dim}{_UNTRAINED}" if table.interpolated(dim) else str(dim)


def _share(table: Table, dim: int) -> str:
    share = table.share(dim)
    return NONE if share is None else f"{share:.1f}%"


def _untrained(table: Table, rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    if not any(row[0].endswith(_UNTRAINED) for row in rows):
        return ()
    return (f"{_UNTRAINED} not trained: interpolated ({table.labels[0]} was trained at {_words(table.trained or ())})",)


def _words(dims: Sequence[int]) -> str:
    return ", ".join(map(str, dims))


def _real(others: Sequence[int], shown: Sequence[Table]) -> tuple[str, ...]:
    """What the stars mean, and where none could be given."""
    return tuple(star_words(shown, others))
