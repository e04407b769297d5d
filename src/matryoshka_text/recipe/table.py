"""recipes/README.md, made from the recipes and from the schema: `python -m matryoshka_text.recipe.table [--check]`."""

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from matryoshka_text.bundled import bundled
from matryoshka_text.errors import MtextError
from matryoshka_text.files import write_whole
from matryoshka_text.recipe.describe import allowed, sections_in
from matryoshka_text.recipe.load import load_recipe
from matryoshka_text.recipe.schema import Recipe
from matryoshka_text.recipe.wording import as_yaml
from matryoshka_text.section import Section

__all__ = ["main", "readme"]

_HEAD = """# Recipes

A recipe holds everything that changes the model; the command line says only where it runs. One complete annotated
recipe is in [docs/reference/recipes.md](../docs/reference/recipes.md).

    mtext check recipes/*.yaml      # all errors at once, nothing run
    mtext train recipes/quickstart.yaml

This page is made by `python -m matryoshka_text.recipe.table`; a test compares it with the recipes and the schema.
"""
_NOTES = """## Every key

Unknown keys are errors. There is no inheritance, no interpolation and no import path: a recipe does what it says.
Numbers are read as in YAML 1.2 (`5e-5` is a number). `null` means none. A run writes its recipe with every
value filled in to `recipe.yaml` in its folder, and that file is a recipe too.
"""


def readme(folder: Path) -> str:
    """The page for the recipes in `folder`."""
    # Those of the folder itself first, then the studies.
    paths = sorted(folder.rglob("*.yaml"), key=lambda path: (len(path.parts), path))
    recipes = [(path.relative_to(folder).as_posix(), load_recipe(path)) for path in paths]
    rows = [f"| [{path}]({path}) | {' | '.join(_cells(recipe))} |" for path, recipe in recipes]
    head = "| recipe | base | dims | objectives | data | batch | length |\n|---|---|---|---|---|---|---|"
    return "\n".join([_HEAD, head, *rows, "", _NOTES, *_sections()])


def main(arguments: list[str] | None = None) -> int:
    """Write recipes/README.md; with --check, 1 where it is not what it would be."""
    parser = argparse.ArgumentParser(prog="python -m matryoshka_text.recipe.table", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page is out of date")
    parser.add_argument("--folder", type=Path, default=None, help="the folder of recipes (default: the bundled one)")
    options = parser.parse_args(arguments)
    try:
        folder = options.folder or bundled("recipes")
        page, made = folder / "README.md", readme(folder)
    except MtextError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if not options.check:
        write_whole(page, made)
    elif not page.is_file() or page.read_text(encoding="utf-8") != made:
        sys.stderr.write(f"{page} is out of date; run: python -m matryoshka_text.recipe.table\n")
        return 1
    return 0


def _cells(recipe: Recipe) -> Iterator[str]:
    yield recipe.base.model
    yield recipe.dims if isinstance(recipe.dims, str) else ", ".join(map(str, recipe.dims))
    yield ", ".join([*(["rotation"] if recipe.rotation else []), *(objective.kind for objective in recipe.objectives)])
    own = recipe.rotation.data if recipe.rotation is not None else None
    yield ", ".join(source.name for source in (*(own or ()), *recipe.data))
    yield str(recipe.batch.size) if recipe.objectives else ""
    yield _length(recipe)


def _length(recipe: Recipe) -> str:
    if recipe.stopping is None:
        return f"{recipe.rotation.steps} steps of the rotation" if recipe.rotation is not None else ""
    steps, epochs = recipe.stopping.steps, recipe.stopping.epochs
    return f"{steps} steps" if steps is not None else f"{epochs} epoch{'s' if epochs != 1 else ''}"


def _sections() -> Iterator[str]:
    waiting: list[tuple[str, type[Section]]] = [("The recipe", Recipe)]
    while waiting:
        title, section = waiting.pop(0)
        yield f"### {title}\n\n{inspect.getdoc(section)}\n\n| key | value | default | meaning |\n|---|---|---|---|"
        below: list[tuple[str, type[Section]]] = []
        for name, field in section.model_fields.items():
            inner = list(sections_in(field.annotation))
            below += [(_title(title, name, one, several=len(inner) > 1), one) for one in inner]
            yield f"| `{name}` | {_value(field, inner)} | {_default(field)} | {field.description} |"
        waiting = below + waiting
        yield ""


def _title(above: str, name: str, section: type[Section], *, several: bool) -> str:
    path = name if above == "The recipe" else f"{above.strip('`')}.{name}"
    kind = f", {section.__name__}" if several else ""
    return f"`{path}`{kind}"


def _value(field: FieldInfo, inner: list[type[Section]]) -> str:
    if not inner:
        return allowed(field.annotation, field)
    listed = "a list of sections" if allowed(field.annotation).startswith("a list") else "a section"
    return f"{listed}, below" + (" (or null)" if not field.is_required() and field.default is None else "")


def _default(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if field.is_required():
        return "required"
    if isinstance(extra, dict) and "default" in extra:
        return str(extra["default"])
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Section):
        return "its defaults"
    return f"`{as_yaml(value)}`"


if __name__ == "__main__":
    sys.exit(main())
