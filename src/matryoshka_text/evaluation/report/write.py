"""Tables on the terminal, as text and as Markdown, and the files of an evaluation."""

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.report.cost import Costs
from matryoshka_text.evaluation.report.grids import Grid, Overview, detail
from matryoshka_text.evaluation.report.html import write_html
from matryoshka_text.evaluation.report.pareto import write_pareto
from matryoshka_text.evaluation.report.plot import write_curve
from matryoshka_text.evaluation.report.provenance import dates, normalization, settings_of, versions_of
from matryoshka_text.evaluation.report.search import SEARCH_ABOUT, SearchPart, search_parts
from matryoshka_text.evaluation.report.tables import Table
from matryoshka_text.evaluation.searching.rows import SearchRow
from matryoshka_text.files import write_whole
from matryoshka_text.rows import Row

__all__ = ["grid_markdown", "markdown", "print_tables", "rich_grid", "write_report"]

FEW_TASKS = 3
_ACROSS = 8


def rich_grid(grid: Grid, *, tight: bool = False) -> RichTable:
    """The grid for a terminal or a text file, without its title; `tight` with one blank between columns."""
    shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 0 if tight else 1), show_edge=not tight)
    for place, name in enumerate(grid.header):
        # Two lines for our own long headings leave room for model names in 80 columns.
        broken = {
            "bytes a vector": "bytes a\nvector",
            "bytes in float32": "bytes in\nfloat32",
            "share of full width": "share of\nfull width",
            "smallest dim that keeps": "smallest dim\nthat keeps",
        }.get(name, name)
        names = place == 0 and name != "dim"
        # Text, because a label may hold what rich would take for markup.
        shown.add_column(Text(broken), justify="left" if names else "right", overflow="fold")
    for row in grid.rows:
        shown.add_row(*map(Text, row))
    return shown


def print_tables(tables: Sequence[Table], console: Console) -> None:
    """The summary, the differences to each other column and what keeps how much; up to three tasks also one by one.

    Tasks stand across where they fit the console's width; otherwise their types do.
    """
    if not tables:
        return
    found = Overview(tables)
    few = len(found.tasks) <= FEW_TASKS
    said: set[str] = set()
    if len(found.tasks) > 1:
        _show(console, said, *_fitting(console, found, found.scores))
        for other in found.others:
            _show(console, said, *_fitting(console, found, partial(found.differences, other)))
    for table in tables if few else ():
        if table.task:
            _show(console, said, *_parts(console, table))
    if found.tasks:
        kept = found.kept(found.tasks if few else found.types)
        _show(console, said, kept, [rich_grid(kept)])
    if not few:
        _say(console, f"The {len(found.tasks)} tasks one by one: results.md and report.html.")


def _fitting(console: Console, found: Overview, make: Callable[..., Grid]) -> tuple[Grid, list[RichTable]]:
    """The first of these that is no wider than the console: all tasks, their types, short names, the mean."""
    ways = [(found.tasks, False)] + ([(found.types, False), (found.types, True)] if found.types else [])
    for across, short in ways:
        shown = rich_grid(grid := make(across, short=short), tight=short)
        if _width(console, shown) <= console.width:
            return grid, [shown]
    return (grid := make([] if found.mean else found.tasks)), [rich_grid(grid)]


def _parts(console: Console, table: Table) -> tuple[Grid, list[RichTable]]:
    """The task in full; where the console is too narrow, in parts, each with as many other columns as fit."""
    parts: list[list[int]] = [[]]
    for other in range(1, len(table.labels)):
        wider = [*parts[-1], other]
        if parts[-1] and _width(console, rich_grid(detail(table, wider))) > console.width:
            parts.append([other])
        else:
            parts[-1] = wider
    return detail(table), [rich_grid(detail(table, part)) for part in parts]


def _width(console: Console, shown: RichTable) -> int:
    return console.measure(shown, options=console.options.update(width=10_000)).maximum


def _show(console: Console, said: set[str], grid: Grid, shown: Sequence[RichTable]) -> None:
    """Title, tables and those notes that were not yet said; not the tables' own titles, wrapped to their width."""
    _say(console, grid.title, style="bold")
    for one in shown if grid.rows else ():
        console.print(one, highlight=False)
    new = [note for note in grid.notes if note not in said]
    for note in new:
        _say(console, f"  {note}")
    said.update(new)
    if new or not shown[-1].show_edge:
        _say(console, "")


def _say(console: Console, words: str, style: str | None = None) -> None:
    console.print(words, style=style, highlight=False, markup=False, soft_wrap=True)


def grid_markdown(grid: Grid, heading: str) -> str:
    """The grid in Markdown, with a heading."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"

    names = not grid.header[0].startswith("dim")
    rule = "|" + (" :--- |" if names else " ---: |") + " ---: |" * (len(grid.header) - 1)
    lines = [f"### {_plain(heading)}"]
    if grid.rows:
        lines += ["", line(grid.header), rule, *map(line, grid.rows)]
    for note in map(_plain, grid.notes):
        lines += ["", note.replace("*", "\\*", 1) if note.startswith("*") else note]
    return "\n".join(lines) + "\n"


def _plain(words: str) -> str:
    """The words as Markdown that shows them: without tags of HTML, which names may look like."""
    return words.replace("<", "\\<")


def markdown(table: Table) -> str:
    """The table in Markdown, with a heading."""
    grid = detail(table, intervals=True)
    before = f"{table.title}\n\n{table.labels[0]}; {table.note}."
    return grid_markdown(grid, before)


def write_report(
    out: Path,
    tables: Sequence[Table],
    plan: Plan,
    rows: Sequence[Row],
    *,
    failures: Sequence[str] = (),
    costs: Costs | None = None,
    searched: Sequence[SearchRow] = (),
) -> None:
    """report.html, results.md, table.txt, curve.png and curve.svg in `out`; search.md if something was searched.

    `failures`: what could not be scored, one line each. `costs`: bytes and search times (`cost.costs`); None: bytes
    alone.
    """
    text = io.StringIO()
    print_tables(tables, Console(file=text, width=120, color_system=None))
    write_whole(out / "table.txt", "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n")
    parts = [
        f"# {_plain(plan.subjects[0].label)}, suite {plan.suite.name}\n",
        _provenance(plan, rows),
        *_failed(failures),
        *_overview(tables),
        *(markdown(table) for table in tables),
        *([costs.markdown()] if costs else []),
        "![score by dim](curve.png)\n",
    ]
    write_whole(out / "results.md", "\n".join(parts))
    write_curve(out, tables)
    ways = search_parts(plan, searched)
    if ways:
        _write_search(out, plan, ways)
    write_html(out / "report.html", plan, tables, rows, failures=failures, costs=costs, searched=ways)


def _write_search(out: Path, plan: Plan, parts: Sequence[SearchPart]) -> None:
    """search.md, and its picture."""
    write_pareto(out, parts[0])
    lines = [f"# Search, suite {_plain(plan.suite.name)}\n", f"{SEARCH_ABOUT}\n"]
    lines += [f"![quality by work and by time: {_plain(parts[0].title)}](search.png)\n"]
    lines += [grid_markdown(part.grid, f"{part.title}\n\n{part.about}") for part in parts]
    write_whole(out / "search.md", "\n".join(lines))


def _overview(tables: Sequence[Table]) -> Iterator[str]:
    found = Overview(tables)
    if not found.tasks:
        return
    if len(found.tasks) > 1:
        across = found.tasks if len(found.tasks) <= _ACROSS or not found.types else found.types
        yield grid_markdown(found.scores(across), "Summary")
        for other in found.others:
            yield grid_markdown(found.differences(other, across), f"Against {found.whole.labels[other]}")
    yield grid_markdown(found.kept([*found.means, *found.tasks]), "Smallest dim that keeps 99, 95 and 90%")


def _failed(failures: Sequence[str]) -> Iterator[str]:
    if failures:
        yield "\n".join(["**Failed, and in no table:**", "", *(f"* {_plain(one)}" for one in failures)]) + "\n"


def _provenance(plan: Plan, rows: Sequence[Row]) -> str:
    lines = [
        f"* {one.label}: {one.name}, {one.origin}, weights sha256 {one.weights[:16]}"
        + (f", its first {one.layers} layers only" if one.layers else "")
        for one in plan.subjects
    ]
    lines += [f"* {one}" for one in (*versions_of(rows), *settings_of(plan, rows))]
    alone = ", FF is at each dim the model trained at that dim only" if any(one.only for one in plan.subjects) else ""
    said = normalization(rows)
    lines.append(
        f"* {dates(rows)}" + (f"; {said}" if said else "") + f"; every other model is cut at the same dims{alone}"
    )
    return _plain("\n".join(lines)) + "\n"
