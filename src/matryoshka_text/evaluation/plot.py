"""The curve: score by dim, one panel a task, one line a model."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matryoshka_text.evaluation.tables import Table
from matryoshka_text.files import write_whole

__all__ = ["write_curve"]

# Okabe and Ito's colours: told apart by colour-blind readers too. The evaluated model comes first.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_MOST_COLUMNS = 4


def write_curve(path: Path, tables: Sequence[Table]) -> None:
    """A PNG with a panel for each table; dims on a logarithmic axis."""
    # Not pyplot: no backend is chosen for the process, and no window can open.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(len(tables), _MOST_COLUMNS if len(tables) > 6 else 3)
    lines = math.ceil(len(tables) / columns)
    figure = Figure(
        figsize=(4.0 * columns + 0.4, 3.1 * lines + 0.7), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, table in zip(panels, tables, strict=False):
        _draw(panel, table)
    for panel in panels[len(tables) :]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    # Drawn last, to lie on top, but named first: the evaluated model.
    figure.legend(handles[::-1], labels[::-1], loc="outside upper center", ncols=min(len(labels), 3), frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_whole(path, picture.getvalue())


def _draw(panel: Any, table: Table) -> None:
    for number in reversed(range(len(table.labels))):
        points = sorted(table.scores[number].items())
        panel.plot(
            [dim for dim, _ in points],
            [score for _, score in points],
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="-" if number == 0 else "--",
            markersize=4.5,
            label=table.labels[number],
        )
    panel.set_xscale("log", base=2)
    panel.set_xticks(table.dims, [str(dim) for dim in table.dims], rotation=45 if len(table.dims) > 8 else 0)
    panel.minorticks_off()
    panel.set_title(table.title, fontsize=11)
    panel.set_xlabel("dims")
    panel.set_ylabel(table.note.split(",")[0])
    panel.grid(alpha=0.25)
