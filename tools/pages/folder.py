"""A folder of committed rows read whole: what it is, its scores, what is known of its differences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matryoshka_text.rows import read_rows
from tools.pages.board import Board, Sheet
from tools.pages.differences import Difference, read_differences
from tools.pages.records import Baselines, Compared, read_record

__all__ = ["NONE", "Folder", "grid", "read_folder"]

NONE = "-"


@dataclass(frozen=True)
class Folder:
    """baselines.yaml with the rows next to it, and its numbers as words."""

    path: Path
    about: Baselines
    board: Board
    known: dict[tuple[str, int, str], Difference]

    @property
    def reference(self) -> Compared:
        """The column that the others are compared with."""
        return self.board.columns[0]

    @property
    def others(self) -> tuple[Compared, ...]:
        """The columns that are compared with the first."""
        return self.board.columns[1:]

    def mean(self, column: Compared, sheet: Sheet, dim: int) -> str:
        """Only the score."""
        score = self.board.score(column, sheet, dim)
        return NONE if score is None else f"{score.mean:.2f}"

    def score(self, column: Compared, sheet: Sheet, dim: int) -> str:
        """The score with half its interval's width or, of several seeds, their spread."""
        score = self.board.score(column, sheet, dim)
        if score is None:
            return NONE
        if score.interval is not None:
            return f"{score.mean:.2f} ± {(score.interval[1] - score.interval[0]) / 2:.2f}"
        return f"{score.mean:.2f}" + (f" ({score.spread:.2f})" if score.spread is not None else "")

    def gap(self, column: Compared, sheet: Sheet, dim: int) -> str:
        """The difference to the first column, in bold where it is known to be real."""
        gap = self.board.difference(column, sheet, dim)
        if gap is None:
            return NONE
        known = self.known.get((sheet.title, dim, column.label))
        return f"**{gap:+.2f}**" if known is not None and known.real else f"{gap:+.2f}"

    def between(self, column: Compared, other: Compared, sheet: Sheet, dim: int) -> str:
        """The difference of any two columns; in bold only against the first, where it is known to be real."""
        if other is self.reference:
            return self.gap(column, sheet, dim)
        ours, theirs = self.board.score(column, sheet, dim), self.board.score(other, sheet, dim)
        return NONE if ours is None or theirs is None else f"{ours.mean - theirs.mean:+.2f}"


def read_folder(path: Path) -> Folder:
    """What lies in eval/results/<name>; `RecipeError` or `DataError` if a file of it is damaged."""
    about = read_record(path / "baselines.yaml", Baselines)
    board = Board(about, read_rows(path / "rows.jsonl"))
    return Folder(path, about, board, read_differences(path, board))


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], *, names: int = 0) -> str:
    """A table in Markdown: the first `names` columns are words, the others numbers."""
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |" for cells in (header, *rows)]
    rule = "|" + " :--- |" * names + " ---: |" * (len(header) - names)
    return "\n".join([lines[0], rule, *lines[1:]])
