"""eval/README.md and the README's table, generated from the committed rows (`make tables`)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from matryoshka_text.errors import MtextError, RecipeError
from matryoshka_text.files import write_whole
from tools.pages.baselines import render_baselines
from tools.pages.folder import Folder, read_folder
from tools.pages.front import render_front, the_front
from tools.pages.study import render_study

__all__ = ["main"]

_START, _END = "<!-- table:quickstart -->", "<!-- /table:quickstart -->"
_HEADER = """# Results

Generated from the rows in `results/` and from `conclusions.md` by `make tables`; do not edit. `LOG.md` tells how they
came about.
"""
_KINDS = ("baselines.yaml", "study.yaml")


def _pages(root: Path) -> dict[Path, str]:
    """Every generated page and what should be in it."""
    results = root / "eval" / "results"
    _no_strays(results)
    folders = [read_folder(place.parent) for place in sorted(results.glob("*/baselines.yaml"))]
    studies = [render_study(place.parent) for place in sorted(results.glob("*/study.yaml"))]
    readme, conclusions = root / "README.md", root / "eval" / "conclusions.md"
    first = [conclusions.read_text(encoding="utf-8")] if conclusions.is_file() else []
    return {
        root / "eval" / "README.md": "\n".join([_HEADER, *first, *map(render_baselines, folders), *studies]),
        readme: _with_front(readme, the_front(folders)),
    }


def _no_strays(results: Path) -> None:
    for rows in sorted(results.glob("*/rows.jsonl")):
        if not any((rows.parent / kind).exists() for kind in _KINDS):
            raise RecipeError(
                f"{rows.parent}: found rows.jsonl and neither {' nor '.join(_KINDS)}; allowed: one of them, which says "
                "what to show; write it, or remove the folder"
            )


def _with_front(readme: Path, folder: Folder | None) -> str:
    """The README with its table anew; `RecipeError` if there is a table without a source, or the other way round."""
    text = readme.read_text(encoding="utf-8")
    before, start, rest = text.partition(_START)
    _, end, after = rest.partition(_END)
    if folder is not None and not end:
        raise RecipeError(
            f"{readme}: found no {_START} … {_END}; allowed: one such pair, for the table that `front` in "
            f"{folder.path / 'baselines.yaml'} asks for; add it, or remove front and front_column"
        )
    if folder is None and start:
        raise RecipeError(
            f"{readme}: found {_START}, and `front` in none of eval/results/*/baselines.yaml; allowed: in one of them; "
            "add front and front_column (or front_kinds) there, or remove the table"
        )
    return text if folder is None else f"{before}{_START}\n{render_front(folder)}{_END}{after}"


def main(words: Sequence[str] | None = None) -> int:
    """Write the pages; with --check write nothing and give 1 if one is stale. 2: their sources are damaged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a page is stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout (default: here)")
    asked = parser.parse_args(words)
    try:
        pages = _pages(asked.root)
    except MtextError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    stale = {path: text for path, text in pages.items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if asked.check:
            sys.stderr.write(f"{path}: stale; run `make tables`\n")
        else:
            write_whole(path, text)
    return 1 if asked.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
