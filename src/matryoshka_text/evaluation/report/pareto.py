"""search.png and search.svg: quality by work and by time, for search.md and model cards."""

from pathlib import Path
from typing import Any

from matryoshka_text.evaluation.report.plot import COLOURS, MARKERS, new_figure, write_picture
from matryoshka_text.evaluation.report.search import AXES, SERIES, SearchPart, log_ticks, series_of

__all__ = ["write_pareto"]


def write_pareto(out: Path, part: SearchPart) -> None:
    """The part's two panels; the same bytes each time for the same rows."""
    write_picture(out, "search", lambda: _figure(part))


def _figure(part: SearchPart) -> Any:
    figure = new_figure(9.0, 4.6)
    panels = figure.subplots(1, len(AXES), sharey=True)
    for panel, (axis, words) in zip(panels, AXES, strict=True):
        for number, name in enumerate(SERIES):
            own = [row for row in part.rows if series_of(row) == number and getattr(row, axis) is not None]
            look = {"color": COLOURS[number], "marker": MARKERS[number], "markersize": 5, "linewidth": 1.3}
            panel.plot([getattr(row, axis) for row in own], [row.ndcg for row in own], label=name, **look)
        panel.set_xscale("log")
        ticks = log_ticks(*panel.get_xlim())
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks], rotation=45 if len(ticks) > 6 else 0)
        panel.minorticks_off()
        panel.set_xlabel(words.removesuffix(" (log scale)"))
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("nDCG@10 x 100")
    figure.suptitle(part.title, fontsize=11, parse_math=False)
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure
