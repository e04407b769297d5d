"""The README's table: one column of a folder of committed rows against the first, for a few tasks."""

from collections.abc import Iterator, Sequence

from matryoshka_text.errors import RecipeError
from matryoshka_text.evaluation.pages.board import Sheet
from matryoshka_text.evaluation.pages.folder import NONE, Folder, grid
from matryoshka_text.evaluation.pages.records import Compared
from matryoshka_text.evaluation.vectors.view import bytes_per_vector

__all__ = ["render_front", "the_front"]

_REAL = "In bold: more than the chance of which items were asked (paired bootstrap, 95%)."


def the_front(folders: Sequence[Folder]) -> Folder | None:
    """The folder whose rows the README shows; None where none asks for it, `RecipeError` where several do."""
    asking = [folder for folder in folders if folder.about.front]
    if len(asking) > 1:
        places = " and ".join(str(folder.path / "baselines.yaml") for folder in asking)
        raise RecipeError(
            f"{places}: found `front` in {len(asking)} of them; allowed: in one, as the README has one table; "
            "remove front and front_column elsewhere"
        )
    return asking[0] if asking else None


def render_front(found: Folder) -> str:
    """A row for each dim, for each task the score and the difference to the first column; a line that explains it."""
    column = next(one for one in found.board.columns if one.label == found.about.front_column)
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


def _caption(found: Folder, column: Compared, sheets: Sequence[Sheet], *, bold: bool) -> Iterator[str]:
    about = found.about
    yield about.note
    counts = {sheet.title: found.board.seeds(column, sheet) for sheet in sheets}
    most = max(counts.values())
    fewer = "; ".join(f"{title}: of {count}" for title, count in counts.items() if count < most)
    metrics = ", ".join(f"{sheet.title}: {sheet.metric}" for sheet in sheets)
    made = f"made by [{about.recipe}]({about.recipe}) at commit" if about.recipe else "commit"
    scores = f"Mean of {most} seeds{f' ({fewer})' if fewer else ''}," if most > 1 else "Scores"
    yield f"{scores} x 100 ({metrics}); {made} {about.commit[:9]}."
    if bold:
        yield _REAL
    yield "All tasks and the spread: [eval/README.md](eval/README.md)."
