"""A suite read from a bundled name or a YAML file, with the file, line and key of every fault."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from matryoshka_text.bundled import bundled
from matryoshka_text.errors import RecipeError
from matryoshka_text.files import expanded
from matryoshka_text.suite.entry import TaskEntry
from matryoshka_text.suite.schema import Suite
from matryoshka_text.yaml_lines import Document, Loc, read_yaml

__all__ = ["load_suite", "suite_names"]

# Keys that load_suite sets and nobody writes.
_OWN = ("folder", "given", "places")
_KEYS = [key for key in Suite.model_fields if key not in _OWN]
_ENTRY_KEYS = [field.alias or key for key, field in TaskEntry.model_fields.items()]


def suite_names() -> list[str]:
    """The names of the suites that come with the package."""
    return sorted(path.stem for path in bundled("suites").glob("*.yaml"))


def load_suite(name_or_path: str | Path) -> Suite:
    """The suite of that bundled name, or in that YAML file; `RecipeError` with a line for each of its faults."""
    path = _path_of(str(name_or_path))
    document = read_yaml(path)
    faults: list[tuple[Loc, str]] = []
    suite = None
    if isinstance(document.value, dict):
        own = {"folder": path.parent, "given": str(name_or_path), "places": _places(path, document)}
        for key in set(own) & set(document.value):
            faults.append(((key,), f"unknown key; allowed: {', '.join(_KEYS)}; remove it"))
        try:
            suite = Suite.model_validate({**document.value, **own})
        except ValidationError as error:
            faults += [(one["loc"], _wording(one)) for one in error.errors()[:1000]]
    elif not document.faults:
        what = "nothing" if document.value is None else type(document.value).__name__
        document.faults.append((0, f"holds {what}; allowed: a mapping with name and tasks"))
    problems = document.told(path, faults)
    if suite is None or problems:
        raise RecipeError("\n".join(problems))
    return suite


def _places(path: Path, document: Document) -> tuple[str, ...]:
    """File and line of each task."""
    tasks = document.value.get("tasks")
    count = len(tasks) if isinstance(tasks, list) else 0
    return tuple(f"{path}:{document.line_of(('tasks', index))}" for index in range(count))


def _path_of(wanted: str) -> Path:
    if wanted.endswith((".yaml", ".yml")) or "/" in wanted:
        path = expanded(wanted)
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


def _wording(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        keys = _ENTRY_KEYS if error["loc"][0] == "tasks" and len(error["loc"]) > 1 else _KEYS
        near = difflib.get_close_matches(str(error["loc"][-1]), keys, n=1, cutoff=0.6)
        way_out = f"did you mean {near[0]!r}?" if near else "remove it"
        return f"unknown key (found {error['input']!r}); allowed here: {', '.join(keys)}; {way_out}"
    if error["type"] == "missing":
        return "found nothing; it has to be given"
    return message if error["type"] == "value_error" else f"{message}, found {error['input']!r}"
