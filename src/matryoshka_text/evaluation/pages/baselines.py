"""The part of eval/README.md that sets models and baselines side by side."""

from collections.abc import Iterator
from pathlib import Path

from matryoshka_text.evaluation.pages.board import Board, Score, Sheet
from matryoshka_text.evaluation.pages.differences import Difference, read_differences
from matryoshka_text.evaluation.pages.records import Baselines, read_record
from matryoshka_text.evaluation.vectors.view import bytes_per_vector
from matryoshka_text.rows import read_rows

__all__ = ["render_baselines"]

_NONE = "-"
_HALF_WIDTH = "± is half the width of the 95% bootstrap interval over the task's items."
_SPREAD = "In brackets the spread over seeds, largest - smallest."
_REAL = (
    "A difference in bold is more than the chance of which items were asked: its paired 95% bootstrap interval over "
    "the tasks' items leaves out 0. Of the chance in training the spread speaks."
)


def render_baselines(folder: Path) -> str:
    """A section: means over all tasks and by type, then folded away each task; dims down, columns across."""
    about = read_record(folder / "baselines.yaml", Baselines)
    board = Board(about, read_rows(folder / "rows.jsonl"))
    means, tasks = board.means(), board.tasks()
    known = read_differences(folder, board)
    lines = [f"## {about.title}", "", about.note, ""]
    lines += [f"{f'Recipe `{about.recipe}`, commit' if about.recipe else 'Commit'} `{about.commit[:9]}`;"]
    lines += [f"rows in `results/{folder.name}/rows.jsonl`, made by `{about.command}`."]
    lines += [f"Differences are to {board.columns[0].label}. {_legend(board, [*means, *tasks], bool(known))}".rstrip()]
    for sheet in means:
        lines += ["", *_table(board, sheet, known)]
    if means:
        lines += ["", f"<details><summary>Each of the {len(tasks)} tasks</summary>"]
    for sheet in tasks:
        lines += ["", *_table(board, sheet, known)]
    return "\n".join([*lines, *(["", "</details>"] if means else [])]) + "\n"


def _legend(board: Board, sheets: list[Sheet], differences: bool) -> str:
    """What the marks mean, of those that occur."""
    cells = ((column, sheet, dim) for sheet in sheets for column in board.columns for dim in board.dims)
    scores = [board.score(*cell) for cell in cells]
    found = [_HALF_WIDTH] if any(score is not None and score.interval for score in scores) else []
    found += [_SPREAD] if any(score is not None and score.spread is not None for score in scores) else []
    return " ".join([*found, *([_REAL] if differences else [])])


def _table(board: Board, sheet: Sheet, known: dict[tuple[str, int, str], Difference]) -> Iterator[str]:
    reference, *others = board.columns
    yield f"### {sheet.title}"
    yield ""
    yield f"{sheet.note[:1].upper()}{sheet.note[1:]}."
    yield ""
    names = [cell for column in others for cell in (column.label, "difference")]
    yield f"| {' | '.join(['dim', 'bytes a vector', reference.label, *names])} |"
    yield "|" + " ---: |" * (3 + len(names))
    for dim in board.dims:
        cells = [_shown(board.score(reference, sheet, dim))]
        for column in others:
            gap = board.difference(column, sheet, dim)
            cells += [
                _shown(board.score(column, sheet, dim)),
                _marked(gap, known.get((sheet.title, dim, column.label))),
            ]
        if any(cell != _NONE for cell in cells):
            yield f"| {dim} | {bytes_per_vector(dim, reference.precision):,} | {' | '.join(cells)} |"


def _shown(score: Score | None) -> str:
    if score is None:
        return _NONE
    if score.interval is not None:
        return f"{score.mean:.2f} ± {(score.interval[1] - score.interval[0]) / 2:.2f}"
    return f"{score.mean:.2f}" + (f" ({score.spread:.2f})" if score.spread is not None else "")


def _marked(gap: float | None, known: Difference | None) -> str:
    if gap is None:
        return _NONE
    return f"**{gap:+.2f}**" if known is not None and known.real else f"{gap:+.2f}"
