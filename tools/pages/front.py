"""The README's table: one column of committed rows against the first for a few tasks, or means over kinds of task."""

from collections.abc import Iterator, Sequence

from matryoshka_text.errors import RecipeError
from matryoshka_text.vectors.views import bytes_per_vector
from tools.pages.board import Sheet
from tools.pages.folder import NONE, Folder, grid
from tools.pages.records import Compared

__all__ = ["render_front", "the_front"]

_FURTHER = "All tasks and the spread: [eval/README.md](eval/README.md)."
_REAL = "In bold: more than the chance of which items were asked (paired bootstrap, 95%)."


def the_front(folders: Sequence[Folder]) -> Folder | None:
    """The folder whose rows the README shows; None if none asks for it, `RecipeError` if several do."""
    asking = [folder for folder in folders if folder.about.front or folder.about.front_kinds]
    if len(asking) > 1:
        places = " and ".join(str(folder.path / "baselines.yaml") for folder in asking)
        raise RecipeError(
            f"{places}: found `front` in {len(asking)} of them; allowed: in one, as the README has one table; "
            "remove front and front_column, or front_kinds, elsewhere"
        )
    return asking[0] if asking else None


def render_front(found: Folder) -> str:
    """A row for each dim, for each task the score and the difference to the first column; a line that explains it.

    Of `front_kinds`: for each of its columns the mean over kinds of task, then the last minus the first of them.
    """
    if found.about.front_kinds:
        return _kinds(found, [found.about.column(name) for name in found.about.front_kinds])
    column = found.about.column(found.about.front_column or "")
    sheets = _sheets(found)
    against = f"against {found.reference.label}"
    header = ["dims", "bytes a vector", *(word for sheet in sheets for word in (sheet.title, against))]
    rows = list(_rows(found, column, sheets))
    bold = any("**" in cell for row in rows for cell in row)
    return f"{grid(header, rows)}\n\n{' '.join(_caption(found, column, sheets, bold=bold))}\n"


def _sheets(found: Folder) -> list[Sheet]:
    known = {sheet.title: sheet for sheet in found.board.sheets()}
    missing = [title for title in found.about.front if title not in known]
    if missing:
        raise RecipeError(
            f"{found.path / 'baselines.yaml'}: front: found {', '.join(missing)}; "
            f"allowed, as rows.jsonl has them: {', '.join(known) or 'none'}"
        )
    return [known[title] for title in found.about.front]


def _rows(found: Folder, column: Compared, sheets: Sequence[Sheet]) -> Iterator[list[str]]:
    for dim in found.board.dims:
        cells = [word(column, sheet, dim) for sheet in sheets for word in (found.mean, found.gap)]
        if any(cell != NONE for cell in cells):
            yield [str(dim), f"{bytes_per_vector(dim, column.precision):,}", *cells]


def _kinds(found: Folder, columns: Sequence[Compared]) -> str:
    sheet = found.board.over_kinds(also=columns)
    if sheet is None:
        raise RecipeError(
            f"{found.path / 'baselines.yaml'}: front_kinds: the columns share tasks of fewer than two kinds in "
            "rows.jsonl; score more kinds of task, or name tasks in `front`"
        )
    first, last = columns[0], columns[-1]
    header = ["dims", "bytes a vector", *(one.label for one in columns), f"{last.label} against {first.label}"]
    rows = []
    for dim in found.board.dims:
        cells = [found.mean(column, sheet, dim) for column in columns]
        if any(cell != NONE for cell in cells):
            gap = found.between(last, first, sheet, dim)
            rows.append([str(dim), f"{bytes_per_vector(dim, first.precision):,}", *cells, gap])
    bold = any("**" in cell for row in rows for cell in row)
    caption = " ".join(_kinds_caption(found, columns, sheet, bold=bold))
    return "\n\n".join([grid(header, rows), caption, *_corpus(found)]) + "\n"


def _corpus(found: Folder) -> Iterator[str]:
    """The task of `front_corpus`: the first column, the one fitted on the task's own documents, and the difference."""
    title, column = found.about.front_corpus, found.about.on_corpus
    if title is None or column is None:
        return
    sheet = next((one for one in found.board.sheets() if one.title == title), None)
    if sheet is None:
        raise RecipeError(
            f"{found.path / 'baselines.yaml'}: front_corpus: found {title!r}, which rows.jsonl has no scores of"
        )
    yield (
        f"Searching one collection? Learn the rotation on its own documents: {title} ({sheet.metric} x 100), with no "
        "queries and no labels seen."
    )
    header = ["dims", "bytes a vector", found.reference.label, column.label, "difference"]
    rows = [
        [str(dim), f"{bytes_per_vector(dim, column.precision):,}", *cells]
        for dim in found.board.dims
        if (cells := _beside(found, column, sheet, dim))[1] != NONE
    ]
    yield grid(header, rows)


def _beside(found: Folder, column: Compared, sheet: Sheet, dim: int) -> list[str]:
    scores = [found.mean(one, sheet, dim) for one in (found.reference, column)]
    return [*scores, found.gap(column, sheet, dim)]


def _kinds_caption(found: Folder, columns: Sequence[Compared], sheet: Sheet, *, bold: bool) -> Iterator[str]:
    yield found.about.note
    yield f"Main scores x 100, {sheet.note} ({len(sheet.places)} tasks): each kind counts once."
    counts = {column.label: found.board.seeds(column, sheet) for column in columns}
    seeds = [f"{label} of {count} seeds" for label, count in counts.items() if count > 1]
    if seeds:
        yield f"Means: {', '.join(seeds)}."
    yield f"{_made(found)[:1].upper()}{_made(found)[1:]}."
    if bold:
        yield _REAL
    yield _FURTHER


def _made(found: Folder) -> str:
    about = found.about
    made = f"made by [{about.recipe}]({about.recipe}) at commit" if about.recipe else "commit"
    return f"{made} {about.commit[:9]}"


def _caption(found: Folder, column: Compared, sheets: Sequence[Sheet], *, bold: bool) -> Iterator[str]:
    yield found.about.note
    counts = {sheet.title: found.board.seeds(column, sheet) for sheet in sheets}
    most = max(counts.values())
    fewer = "; ".join(f"{title}: of {count}" for title, count in counts.items() if count < most)
    metrics = ", ".join(f"{sheet.title}: {sheet.metric}" for sheet in sheets)
    scores = f"Mean of {most} seeds{f' ({fewer})' if fewer else ''}," if most > 1 else "Scores"
    yield f"{scores} x 100 ({metrics}); {_made(found)}."
    if bold:
        yield _REAL
    yield _FURTHER
