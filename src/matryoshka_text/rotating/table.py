"""What prefixes keep of the neighbourhoods at full width, as text: before and after a rotation, or as they are."""

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matryoshka_text.rotation import SHARES, SourceKept, mean_kept, smallest_dims

__all__ = ["kept_table"]

_COLUMNS = 100
_DIMS_ACROSS = 9
_MEAN = "mean"


def kept_table(kept: Sequence[SourceKept], width: int, *, rotated: bool = True) -> str:
    """The shares in % by source and dim, and the smallest dims that keep 90, 95 and 99%; at most 100 columns wide.

    `rotated` False: the vectors as they are, without "before" and "after".
    """
    asked = max((one.asked for one in kept), default=0)
    which = "held-back texts" if rotated else "texts"
    lines = [
        f"Share (%) of the 10 nearest neighbours at full width ({width}) that a prefix keeps, by dim.",
        f"Asked: up to {asked:,} {which} a source; neighbours are looked for among the texts counted here.",
        *_shown(_shares(kept, rotated=rotated, width=width)),
        "The smallest dim that keeps a share, as does every larger dim listed"
        + (", before → after:" if rotated else ":"),
        *_shown([_smallest(kept, width, rotated=rotated)]),
    ]
    return "\n".join(line for before, line in pairwise(["", *lines]) if line or before).rstrip() + "\n"


def _shown(tables: Sequence[Table]) -> list[str]:
    text = io.StringIO()
    console = Console(file=text, width=_COLUMNS, color_system=None)
    for table in tables:
        console.print(table, highlight=False)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for place, heading in enumerate(headings):
        # Text, because a file's name may hold what rich would take for markup.
        table.add_column(Text(heading), justify="left" if heading in ("source", "") else "right", overflow="fold")
        table.columns[place].no_wrap = heading != "source"
    return table


def _shares(kept: Sequence[SourceKept], *, rotated: bool, width: int) -> list[Table]:
    """The shares, in as many tables as the dims need."""
    dims = [dim for dim in (kept[0].before if kept else ()) if dim < width]
    found = []
    for start in range(0, len(dims), _DIMS_ACROSS):
        some = dims[start : start + _DIMS_ACROSS]
        table = _table("source", "texts", *([""] if rotated else []), *map(str, some))
        for name, count, before, after in _rows(kept):
            if rotated:
                table.add_row(Text(name), count, "before", *_percent(before, some))
                table.add_row("", "", "after", *_percent(after, some))
            else:
                table.add_row(Text(name), count, *_percent(before, some))
        found.append(table)
    return found


def _rows(kept: Sequence[SourceKept]) -> list[tuple[str, str, dict[int, float], dict[int, float]]]:
    rows = [(one.source, f"{one.rows:,}", one.before, one.after) for one in kept]
    if len(kept) > 1:
        rows.append((_MEAN, "", mean_kept(kept, after=False), mean_kept(kept, after=True)))
    return rows


def _percent(shares: Mapping[int, float], dims: Sequence[int]) -> list[str]:
    return [f"{100 * shares[dim]:.1f}" for dim in dims]


def _smallest(kept: Sequence[SourceKept], width: int, *, rotated: bool) -> Table:
    table = _table("source", *(f"{100 * share:.0f}%" for share in SHARES))
    for name, _, before, after in _rows(kept):
        first, then = (smallest_dims({**shares, width: 1.0}) for shares in (before, after))
        table.add_row(
            Text(name), *(f"{first[share]} → {then[share]}" if rotated else str(first[share]) for share in SHARES)
        )
    return table
