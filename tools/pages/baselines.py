"""The part of eval/README.md that sets models and baselines side by side."""

from collections.abc import Iterator, Sequence

from matryoshka_text.evaluation.report.tables import KEPT
from matryoshka_text.vectors.views import bytes_per_vector
from tools.pages.board import Sheet
from tools.pages.folder import NONE, Folder, grid

__all__ = ["render_baselines"]

_HALF_WIDTH = "± is half the width of the 95% bootstrap interval over the task's items."
_SPREAD = "In brackets the spread over seeds, largest - smallest."
_REAL = (
    "A difference in bold is more than the chance of which items were asked: its paired 95% bootstrap interval over "
    "the tasks' items leaves out 0. Where a column has several seeds or draws, those are drawn again too; of so few, "
    "the interval hardly reaches beyond their own range."
)


def render_baselines(found: Folder) -> str:
    """A section: the means over all tasks, the dims that keep it, the types; means of types and the tasks folded."""
    overall, tasks = found.board.overall(), found.board.tasks()
    blocks = [*_head(found)]
    if not overall:
        blocks += _tables(found, tasks)
    else:
        types = found.board.means()[len(overall) :]
        blocks += [*_tables(found, overall), *_kept(found, overall[0]), *_by_type(found, found.board.of_types())]
        blocks += _folded("Scores and spread by type of task", [*_tables(found, types)])
        blocks += _folded(f"Each of the {len(tasks)} tasks", [*_tables(found, tasks)])
    return "\n\n".join(blocks) + "\n"


def _head(found: Folder) -> Iterator[str]:
    about = found.about
    yield f"## {about.title}"
    yield about.note
    told = [f"* **{column.label}**: {column.about}" for column in found.board.columns if column.about]
    if told:
        yield "\n".join(told)
    yield (
        f"{f'Recipe `{about.recipe}`, commit' if about.recipe else 'Commit'} `{about.commit[:9]}`;\n"
        f"rows in `results/{found.path.name}/rows.jsonl`, made by `{about.command}`."
    )
    yield " ".join([f"Differences are to {found.reference.label}, in points.", *_legend(found)])


def _legend(found: Folder) -> Iterator[str]:
    """What the marks mean, of those that occur."""
    board = found.board
    cells = ((column, sheet, dim) for sheet in board.sheets() for column in board.columns for dim in board.dims)
    scores = [score for cell in cells if (score := board.score(*cell)) is not None]
    if any(score.interval for score in scores):
        yield _HALF_WIDTH
    if any(score.spread is not None for score in scores):
        yield _SPREAD
    if found.known:
        yield _REAL


def _tables(found: Folder, sheets: Sequence[Sheet]) -> Iterator[str]:
    """For each sheet heading, note and table; dims down, columns across."""
    names = [cell for column in found.others for cell in (column.label, "difference")]
    header = ["dim", "bytes a vector", found.reference.label, *names]
    for sheet in sheets:
        yield f"### {sheet.title}"
        yield f"{sheet.note[:1].upper()}{sheet.note[1:]}.{_unknown(found, sheet)}"
        yield grid(header, _rows(found, sheet))


def _unknown(found: Folder, sheet: Sheet) -> str:
    """Said of a mean over kinds where other tables have intervals and it has none: nothing in it is bold."""
    known = any(table == sheet.title for table, _, _ in found.known)
    return "" if known or not found.known or sheet.weights is None else " No intervals of these differences are known."


def _rows(found: Folder, sheet: Sheet) -> Iterator[list[str]]:
    for dim in found.board.dims:
        cells = [found.score(found.reference, sheet, dim)]
        for column in found.others:
            cells += [found.score(column, sheet, dim), found.gap(column, sheet, dim)]
        if any(cell != NONE for cell in cells):
            yield [str(dim), f"{bytes_per_vector(dim, found.reference.precision):,}", *cells]


def _kept(found: Folder, whole: Sheet) -> Iterator[str]:
    """The dims that a share of the first column's full width takes, one measure for all columns."""
    board, reference = found.board, found.reference
    full = board.score(reference, whole, board.width)
    if full is None or full.mean <= 0:
        return
    yield "### Smallest dim that keeps the score"
    yield (
        f"The smallest scored dim whose mean over the {len(whole.places)} tasks, as that of every larger one, is at "
        f"least that share of {reference.label}'s at its full width, {board.width} dims ({full.mean:.2f})."
    )
    rows = []
    for percent in KEPT:
        least = percent / 100 * full.mean
        dims = [_smallest(found, whole, n, least) for n in range(len(board.columns))]
        rows.append([f"{percent}% ({least:.2f})", *(NONE if dim is None else str(dim) for dim in dims)])
    yield grid(["share", *(column.label for column in board.columns)], rows)


def _smallest(found: Folder, sheet: Sheet, column: int, least: float) -> int | None:
    """The smallest dim that reaches the score, as every larger one does that was scored."""
    board = found.board
    scores = {dim: board.score(board.columns[column], sheet, dim) for dim in board.dims}
    smallest = None
    for dim, score in sorted(scores.items(), reverse=True):
        if score is None:
            continue
        if score.mean < least:
            break
        smallest = dim
    return smallest


def _by_type(found: Folder, sheets: Sequence[Sheet]) -> Iterator[str]:
    """The first column's score and the others' differences, type by type; dims across."""
    if not sheets:
        return
    dims = found.board.dims
    rows = []
    for sheet in sheets:
        name = sheet.title if len(sheet.places) > 1 else f"{sheet.type}, {sheet.title}"
        rows.append([name, found.reference.label, *(found.mean(found.reference, sheet, dim) for dim in dims)])
        rows += [["", column.label, *(found.gap(column, sheet, dim) for dim in dims)] for column in found.others]
    yield "### By type of task"
    yield (
        f"Dims across. First {found.reference.label}'s mean main score x 100 over the tasks of the type, "
        "then by how many points the others are above it."
    )
    yield grid(["type", "", *map(str, dims)], rows, names=2)


def _folded(title: str, blocks: Sequence[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", *blocks, "</details>"] if blocks else []
