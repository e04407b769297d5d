"""Parts of the site that are written elsewhere: the README's measured table, and the key reference of recipes."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with `<!-- include: table -->` and `<!-- include: recipe keys -->` filled in."""
    for name, text in (("table", _table), ("recipe keys", _recipe_keys)):
        mark = f"<!-- include: {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, _without_links(text()))
    return markdown


def _table() -> str:
    """What `make tables` writes into the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme.split("<!-- table:quickstart -->")[1].split("<!-- /table:quickstart -->")[0]


def _recipe_keys() -> str:
    """The generated sections of recipes/README.md, from the recipe itself to its last section."""
    page = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    return page[page.index("### The recipe") :]


def _without_links(text: str) -> str:
    """Links to files of the repository lead nowhere on the site, so that only their words stay."""
    return re.sub(r"\[([^\]\n]+)\]\([^)\n]+\)", r"`\1`", text)
