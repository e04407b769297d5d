"""The curve: score by dim, one panel a task, one line a column, as PNG and SVG for model cards."""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matryoshka_text.evaluation.report.tables import Table, bands_of, type_means
from matryoshka_text.files import write_whole

__all__ = ["COLOURS", "MARKERS", "MOST_PANELS", "new_figure", "panels_of", "write_curve", "write_picture"]

# Okabe and Ito's colours, then darker ones: told apart by colour-blind readers too. The evaluated model comes first.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00", "#56B4E9"),
    *("#7F4FBF", "#8C2D04", "#00594A", "#8A3A66", "#666666", "#1B4F72"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
_DASHES = ("-", "--", ":", "-.")
MOST_PANELS = 12
_MOST_ACROSS = 4


def panels_of(tables: Sequence[Table]) -> list[Table]:
    """Every table, or, where they are more than twelve, the mean of each task type and of all."""
    shown = [table for table in tables if table.dims]
    if len(shown) <= MOST_PANELS:
        return shown
    return [*type_means(shown), *(table for table in shown if table.main and not table.task)] or shown


def write_curve(out: Path, tables: Sequence[Table]) -> None:
    """curve.png and curve.svg in `out`; the same bytes each time for the same tables."""
    write_picture(out, "curve", lambda: _figure(panels_of(tables)))


def write_picture(out: Path, name: str, draw: Callable[[], Any]) -> None:
    """<name>.png and <name>.svg in `out`: what `draw` gives, a matplotlib figure."""
    import matplotlib as mpl

    # Text stays text in the SVG, and the ids in it do not change from run to run.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "matryoshka-text", "font.family": "sans-serif"}):
        figure = draw()
        for kind, settings in (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}})):
            picture = io.BytesIO()
            figure.savefig(picture, format=kind, facecolor="white", **settings)
            write_whole(out / f"{name}.{kind}", picture.getvalue())


def new_figure(width: float, height: float) -> Any:
    """An empty figure of that many inches. Not pyplot's: no backend is chosen for the process, no window can open."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    FigureCanvasAgg(figure)
    return figure


def _figure(tables: Sequence[Table]) -> Any:
    across = min(len(tables), _MOST_ACROSS if len(tables) > 6 else 3)
    down = math.ceil(len(tables) / across)
    labels = tables[0].labels
    # A narrow figure has room for a legend of one column.
    legend_across = max(1, min(len(labels), int(50 * across // max(len(label) + 8 for label in labels)), 6))
    legend_down = math.ceil(len(labels) / legend_across)
    figure = new_figure(4.0 * across + 0.4, 3.1 * down + 0.3 + 0.22 * legend_down)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for panel, table in zip(panels, tables, strict=False):
        _draw(panel, table)
    for panel in panels[len(tables) :]:
        panel.set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    # Drawn last, to lie on top, but named first: the evaluated model.
    figure.legend(handles[::-1], names[::-1], loc="outside upper center", ncols=legend_across, frameon=False)
    return figure


def _draw(panel: Any, table: Table) -> None:
    banded = bands_of(table)
    for number in reversed(range(len(table.labels))):
        _line(panel, table, number, number in banded)
    panel.set_xscale("log", base=2)
    panel.set_xticks(table.dims, [str(dim) for dim in table.dims], rotation=45 if len(table.dims) > 6 else 0)
    panel.minorticks_off()
    panel.set_title(table.title, fontsize=11, parse_math=False)
    panel.set_xlabel("dims")
    panel.set_ylabel(table.note.split(",")[0], parse_math=False)
    panel.grid(alpha=0.25)


def _line(panel: Any, table: Table, number: int, banded: bool) -> None:
    """One column: its points, hollow at dims that were not trained, and as a band the interval or the draws, where they
    are known.
    """
    cells = sorted(table.cells[number].items())
    dims = [dim for dim, _ in cells]
    colour = COLOURS[number % 12]
    look = {"color": colour, "marker": MARKERS[(number + number // 12) % 12], "markersize": 5 if number == 0 else 4}
    panel.plot(
        dims,
        [cell.score for _, cell in cells],
        **look,
        linestyle="-" if number == 0 else _DASHES[1 + (number - 1) % 3],
        linewidth=2.2 if number == 0 else 1.4,
        # matplotlib takes labels that begin with _ out of the legend.
        label=table.labels[number].replace("$", r"\$")
        if table.labels[number][:1] != "_"
        else f" {table.labels[number]}",
    )
    hollow = [(dim, cell.score) for dim, cell in cells if number == 0 and table.interpolated(dim)]
    if hollow:
        panel.plot(*zip(*hollow, strict=True), **look, linestyle="none", markerfacecolor="white", zorder=3)
    bands = [(dim, *ends) for dim, cell in cells if (ends := cell.band) is not None] if banded else []
    if bands:
        where, low, high = zip(*bands, strict=True)
        panel.fill_between(where, low, high, color=colour, alpha=0.14, linewidth=0)
