"""Where the recipes, suites and quickstart data that come with the package lie."""

from pathlib import Path

from matryoshka_text.errors import RecipeError

__all__ = ["bundled"]

_PACKAGE = Path(__file__).parent
_PLACES = {
    "recipes": (_PACKAGE / "_share" / "recipes", _PACKAGE.parents[1] / "recipes"),
    "suites": (_PACKAGE / "_share" / "suites", _PACKAGE.parents[1] / "eval" / "suites"),
}


def bundled(kind: str) -> Path:
    """The folder of bundled `kind` ("recipes" or "suites"): inside an installed wheel, or the checkout's own."""
    for place in _PLACES[kind]:
        if place.is_dir():
            return place
    raise RecipeError(
        f"the {kind} that come with matryoshka-text are missing (looked in {', '.join(map(str, _PLACES[kind]))}); "
        "install the package again"
    )
