"""`report.html`: everything that came out, in one file that needs nothing else."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.report.chart import SHAPES, chart
from matryoshka_text.evaluation.report.cost import Costs
from matryoshka_text.evaluation.report.cost import costs as costs_of
from matryoshka_text.evaluation.report.grids import Overview, detail, star_words
from matryoshka_text.evaluation.report.provenance import data_lines, dates, normalization, settings_of, versions_of
from matryoshka_text.evaluation.report.search import SEARCH_ABOUT, SearchPart
from matryoshka_text.evaluation.report.tables import KEPT, Table
from matryoshka_text.files import write_whole
from matryoshka_text.rows import Row

__all__ = ["render_html", "write_html"]

# Differences this large get the full shade.
_STRONG = 5.0


@dataclass(frozen=True)
class _Shade:
    """How a difference looks: its words, a class, how strong its shade is (0 to 1), what a pointer shows, interval."""

    words: str
    kind: str
    strength: float
    said: str
    interval: str


def write_html(
    path: Path,
    plan: Plan,
    tables: Sequence[Table],
    rows: Sequence[Row],
    *,
    failures: Sequence[str] = (),
    costs: Costs | None = None,
    searched: Sequence[SearchPart] = (),
) -> None:
    """The page at `path`; see `render_html`."""
    write_whole(path, render_html(plan, tables, rows, failures=failures, costs=costs, searched=searched))


def render_html(
    plan: Plan,
    tables: Sequence[Table],
    rows: Sequence[Row],
    *,
    failures: Sequence[str] = (),
    costs: Costs | None = None,
    searched: Sequence[SearchPart] = (),
) -> str:
    """A page with curves, tables, costs and provenance; light and dark, narrow and wide, without scripts or network.

    `failures`: what could not be scored, one line each. `costs`: None gives bytes without search times. `searched`:
    `search_parts`.
    """
    found = Overview(tables)
    words = files("matryoshka_text.evaluation.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(words).render(
        plan=plan,
        subject=plan.subjects[0],
        found=found,
        whole=found.whole,
        groups=_groups(found),
        further=[(chart(table), detail(table)) for table in tables if not table.main],
        kept=KEPT,
        counts=Counter(task.type for task in found.tasks),
        failures=failures,
        costs=costs or _bytes_alone(plan),
        searched=searched,
        search_about=SEARCH_ABOUT,
        shapes=SHAPES,
        chart=chart,
        shade=_shade,
        level=_level,
        data=data_lines(plan, rows),
        dates=dates(rows),
        versions=versions_of(rows),
        settings=settings_of(plan, rows),
        normalization=normalization(rows),
        interpolated=any(map(found.whole.interpolated, found.whole.scores[0])),
        # The stars themselves are explained next to the colours.
        stars=star_words([*tables, *found.means], found.others)[1:],
        intervals=any(table.intervals for table in tables),
        compared=[other for other in found.others if _gap_dims(found.tasks, [other])],
        gap_dims=_gap_dims,
    )


def _groups(found: Overview) -> list[tuple[Table | None, list[Table]]]:
    """The tasks by type, each type of several with its mean; one group without a mean where all are of one type."""
    if not found.types:
        return [(None, found.tasks)]
    return [
        (mean if mean in found.means else None, [task for task in found.tasks if task.type == mean.type])
        for mean in found.types
    ]


def _gap_dims(shown: Sequence[Table], others: Sequence[int]) -> list[int]:
    """The dims at which one of those columns has a score next to the model's, in one of the tables."""
    pairs = [(table, other) for table in shown for other in others]
    return sorted({dim for table, other in pairs for dim in table.scores[0].keys() & table.scores[other].keys()})


def _bytes_alone(plan: Plan) -> Costs:
    return costs_of(plan.dims_of(plan.subjects[0]), plan.suite.precisions, measure=False)


def _shade(table: Table, dim: int, other: int) -> _Shade | None:
    gap = table.gap(dim, other)
    if gap is None:
        return None
    interval = f"{gap.interval[0]:+.2f} to {gap.interval[1]:+.2f}" if gap.interval else ""
    said = f"{table.scores[0][dim]:.2f} against {table.scores[other][dim]:.2f}"
    said += f"; 95% interval of the difference {interval}" if interval else ""
    words = f"{gap.points:+.2f}" + ("*" if gap.real else "")
    if gap.interval is not None and not gap.real:
        return _Shade(words, "unsure", 0, said=said, interval=interval)
    kind = ("up" if gap.points >= 0 else "down") + (" real" if gap.real else "")
    return _Shade(words, kind, min(1, abs(gap.points) / _STRONG), said=said, interval=interval)


def _level(table: Table, dim: int) -> str:
    """The class of a cell by the share of the full width that it keeps."""
    share = table.share(dim)
    return next((f"k{percent}" for percent in KEPT if share is not None and share >= percent), "")
