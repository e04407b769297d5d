"""A recipe file read and validated, with the file, line and key of every fault."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from matryoshka_text.errors import DataError, RecipeError, shown
from matryoshka_text.files import expanded
from matryoshka_text.recipe.schema import Recipe
from matryoshka_text.recipe.wording import dotted, faults_of, loc_of
from matryoshka_text.section import Loc
from matryoshka_text.yaml_lines import Document, read_yaml

__all__ = ["Reading", "load_recipe", "read_recipe"]

# A key of the recipe, not a file that is called data.csv.
_WORDS = "|".join(set(Recipe.model_fields) - {"data", "objectives"})
_KEY = re.compile(rf"(?:(?:data|objectives)(?:\[\d+\](?:\.\w+|\[\d+\])*)?|(?:{_WORDS})(?:\.\w+|\[\d+\])*)")


@dataclass(frozen=True)
class Reading:
    """A recipe file as it was found: the recipe where it is valid, and one line per fault where it is not."""

    path: Path
    document: Document
    recipe: Recipe | None
    problems: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The folder that the recipe's files are relative to."""
        if self.recipe is not None:
            return self.recipe.folder
        written = self.document.value.get("folder") if isinstance(self.document.value, dict) else None
        return _folder(self.path, written if isinstance(written, str) else None)

    def place(self, loc: Loc) -> str:
        """`recipes/x.yaml:12: data[0].file`, for a message."""
        return f"{self.path}:{self.document.line_of(loc)}: {dotted(loc)}".removesuffix(": ")

    def placed(self, message: str) -> str:
        """`message`, with file and line before each of its lines that begins with a key of the recipe."""
        lines = [(line, *line.partition(": ")) for line in message.splitlines()]
        return "\n".join(
            f"{self.place(loc_of(key))}: {text}" if text and _KEY.fullmatch(key) else line
            for line, key, _, text in lines
        )

    @contextmanager
    def placing(self) -> Iterator[None]:
        """A block whose faults of the recipe and of its data are told with file and line."""
        try:
            yield
        except (RecipeError, DataError) as error:
            raise type(error)(self.placed(str(error))) from error


def load_recipe(path: Path | str) -> Recipe:
    """The recipe in the YAML file `path`; `RecipeError` with one line per fault, all faults at once.

    Reads a run folder's recipe.yaml as well.
    """
    reading = read_recipe(Path(path))
    if reading.recipe is None:
        raise RecipeError("\n".join(reading.problems))
    return reading.recipe


def read_recipe(path: Path) -> Reading:
    """The recipe file `path` with its faults; none is raised."""
    if (elsewhere := _not_there(path)) is not None:
        return Reading(path, Document(), None, (f"{path}: {elsewhere}",))
    document = read_yaml(path)
    if not isinstance(document.value, dict):
        if not document.faults:
            what = "nothing" if document.value is None else shown(document.value)
            document.faults.append((0, f"found {what}; allowed: a mapping of keys; start with `name: my-recipe`"))
        return Reading(path, document, None, document.told(path))
    recipe, faults = _validated(document.value, path)
    problems = document.told(path, faults)
    return Reading(path, document, None if problems else recipe, problems)


def _validated(values: dict[str, Any], path: Path) -> tuple[Recipe | None, Iterable[tuple[Loc, str]]]:
    written = values.get("folder")
    if written is None or isinstance(written, str):
        values = {**values, "folder": _folder(path, written)}
    try:
        return Recipe.model_validate(values), []
    except ValidationError as error:
        return None, faults_of(error, Recipe)


def _folder(recipe: Path, written: str | None) -> Path:
    return (recipe.parent / expanded(written or "")).resolve()


def _not_there(path: Path) -> str | None:
    """What is wrong with a path that names no file, and where the recipes are; None for a file."""
    if path.is_dir():
        there = ", ".join(sorted(p.name for p in path.glob("*.yaml"))[:5]) or "none"
        return f"found a folder; allowed: a recipe file; name one of its .yaml files ({there})"
    if path.exists():
        return None
    if any(sign in path.name for sign in "*?["):
        return f"found no file that matches; allowed: existing recipe files; look in {path.parent}"
    return f"found no such file; allowed: a recipe file; {''.join(_neighbours(path))}"


def _neighbours(path: Path) -> Iterator[str]:
    there = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    close = get_close_matches(path.name, there, n=3, cutoff=0.4) or there[:5]
    yield f"the .yaml files in {path.parent} are: {', '.join(close)}" if close else f"{path.parent} holds no .yaml file"
