"""A suite read from a bundled name or a YAML file."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from matryoshka_text.bundled import bundled
from matryoshka_text.errors import RecipeError
from matryoshka_text.suite.schema import Suite, TaskEntry

__all__ = ["load_suite", "suite_names"]

_KEYS = ", ".join(key for key in Suite.model_fields if key != "folder")
_ENTRY_KEYS = ", ".join(field.alias or key for key, field in TaskEntry.model_fields.items())


def suite_names() -> list[str]:
    """The names of the suites that come with the package."""
    return sorted(path.stem for path in bundled("suites").glob("*.yaml"))


def load_suite(name_or_path: str | Path) -> Suite:
    """The suite of that bundled name, or in that YAML file; `RecipeError` with all its errors where it is not one."""
    path = _path_of(str(name_or_path))
    content = _content_of(path)
    if "folder" in content:
        raise RecipeError(f"{path}: folder: unknown key; allowed: {_KEYS}")
    try:
        return Suite.model_validate({**content, "folder": path.parent})
    except ValidationError as error:
        raise RecipeError("\n".join(_line(path, one) for one in error.errors())) from error


def _path_of(wanted: str) -> Path:
    if wanted.endswith((".yaml", ".yml")) or "/" in wanted:
        path = Path(wanted).expanduser()
        if not path.is_file():
            raise RecipeError(f"{path}: there is no such suite file; bundled suites: {', '.join(suite_names())}")
        return path.resolve()
    if wanted not in suite_names():
        near = difflib.get_close_matches(wanted, suite_names(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise RecipeError(
            f"unknown suite {wanted!r}; {hint}bundled: {', '.join(suite_names())}; or give the path of a .yaml file"
        )
    return bundled("suites") / f"{wanted}.yaml"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, to which a key that occurs twice is an error."""


def _no_doubles(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} occurs twice", key.start_mark)
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _no_doubles)


def _content_of(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, RecursionError) as error:
        raise RecipeError(f"{path}: is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: holds {type(content).__name__}; allowed: a mapping with name and tasks")
    return content


def _line(path: Path, error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = f"unknown key (found {error['input']!r}); allowed here: {_allowed(error['loc'])}"
    elif error["type"] not in ("value_error", "missing"):
        message += f", found {error['input']!r}"
    return f"{path}: {place + ': ' if place else ''}{message}"


def _allowed(place: tuple[int | str, ...]) -> str:
    if place[0] == "tasks" and len(place) > 1:
        return _ENTRY_KEYS
    return _KEYS
