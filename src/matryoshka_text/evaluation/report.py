"""Tables as text, Markdown and on the terminal, and the files of an evaluation."""

import io
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.planned import MASKED_TEXT
from matryoshka_text.evaluation.plot import write_curve
from matryoshka_text.evaluation.tables import Table
from matryoshka_text.files import write_whole
from matryoshka_text.rows import Row

__all__ = ["markdown", "print_tables", "rich_table", "write_report"]

_NONE = "-"


def _header(table: Table) -> list[str]:
    others = [cell for label in table.labels[1:] for cell in (label, "difference")]
    ours = ["score", "share of full width"] if table.main else ["perplexity"]
    return ["dim", "bytes a vector", *ours, *others]


def _cells(table: Table, dim: int) -> list[str]:
    cells = [str(dim), f"{4 * dim:,}", _number(table.scores[0].get(dim))]
    if table.main:
        share = table.share(dim)
        cells.append(_NONE if share is None else f"{share:.1f}%")
    for other in range(1, len(table.labels)):
        difference = table.difference(dim, other)
        cells += [_number(table.scores[other].get(dim)), _NONE if difference is None else f"{difference:+.2f}"]
    return cells


def _number(score: float | None) -> str:
    return _NONE if score is None else f"{score:.2f}"


def rich_table(table: Table) -> RichTable:
    """The table for a terminal or a text file, without its title."""
    shown = RichTable(box=box.SIMPLE_HEAD)
    for name in _header(table):
        # Two lines for our own long headings leave room for model names in 80 columns.
        broken = {"bytes a vector": "bytes a\nvector", "share of full width": "share of\nfull width"}.get(name, name)
        shown.add_column(broken, justify="right", overflow="fold")
    for dim in table.dims:
        shown.add_row(*_cells(table, dim))
    return shown


def print_tables(tables: Sequence[Table], console: Console) -> None:
    """Every table, one below the other."""
    for table in tables:
        # Not the table's own title, which would be wrapped to the table's width.
        title = f"{table.title}: {table.labels[0]} ({table.note})"
        console.print(title, style="bold", highlight=False, markup=False, soft_wrap=True)
        console.print(rich_table(table), highlight=False)


def markdown(table: Table) -> str:
    """The table in Markdown, with a heading."""
    header = _header(table)
    lines = [f"### {table.title}", "", f"{table.labels[0]}; {table.note}.", ""]
    lines += ["| " + " | ".join(header) + " |", "|" + " ---: |" * len(header)]
    lines += ["| " + " | ".join(_cells(table, dim)) + " |" for dim in table.dims]
    return "\n".join(lines) + "\n"


def write_report(out: Path, tables: Sequence[Table], plan: Plan, rows: Sequence[Row]) -> None:
    """table.txt, results.md and curve.png in `out`."""
    text = io.StringIO()
    print_tables(tables, Console(file=text, width=120, color_system=None))
    write_whole(out / "table.txt", "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n")
    parts = [
        f"# {plan.subjects[0].label}, suite {plan.suite.name}\n",
        _provenance(plan, rows),
        *(markdown(table) for table in tables),
        "![score by dim](curve.png)\n",
    ]
    write_whole(out / "results.md", "\n".join(parts))
    write_curve(out / "curve.png", tables)


def _provenance(plan: Plan, rows: Sequence[Row]) -> str:
    lines = [
        f"* {one.label}: {one.name}, {one.origin}, weights sha256 {one.weights[:16]}"
        + (f", its first {one.layers} layers alone" if one.layers else "")
        for one in plan.subjects
    ]
    lines.append("* " + ", ".join(f"{name} {number}" for name, number in rows[0].versions.items()))
    normalize = {row.normalize for row in rows if row.type != MASKED_TEXT}
    how = "brought back to length 1" if True in normalize else "left as they are"
    alone = ", FF is at each dim the model trained at that dim alone" if plan.columns[-1].label == "FF" else ""
    lines.append(
        f"* {rows[0].date:%Y-%m-%d}"
        + (f"; prefixes {how} before scoring" if normalize else "")
        + f"; every other model is cut at the same dims{alone}"
    )
    return "\n".join(lines) + "\n"
