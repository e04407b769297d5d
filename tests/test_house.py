"""House rules that no linter checks: sizes of functions and modules, positional arguments, no Any in the public API."""

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import matryoshka_text

ROOTS = ("src", "tools", "benchmarks", "recipes")
LONGEST_FUNCTION, LONGEST_MODULE, MOST_POSITIONAL = 60, 300, 4

# Triton compiles a kernel's source as it stands: it cannot be divided, and knows no keywords.
KERNELS = ("kernels.py", "kernels_backward.py")
LONG_FUNCTIONS = {"evaluate": "twenty keywords, once in its signature and once where they go, and what each means"}
POSITIONAL_CALLS = {
    "_git": "the words of a command",
    "_sizes": "the sizes of a family, one line each",
    "apply": "torch.autograd.Function takes no keywords",
    "encode_document": "hands on what it was given, as sentence-transformers orders it",
    "encode_query": "hands on what it was given, as sentence-transformers orders it",
    "field_validator": "names of fields",
    "IndexIVFScalarQuantizer": "faiss knows no keywords",
    "permute": "axes",
    "save_for_backward": "torch.autograd.Function takes no keywords",
    "warning": "what logging puts into the message",
}
# What comes back from arguments that tell its type, in overloads; and what goes on to sentence-transformers.
ANY_ALLOWED = {f"MatryoshkaEncoder.{name}" for name in ("encode", "encode_query", "encode_document", "passes")}

Found = Iterator[tuple[str, str]]


def sources(repo: Path) -> Iterator[tuple[str, ast.Module]]:
    for root in ROOTS:
        for path in sorted((repo / root).rglob("*.py")):
            yield str(path.relative_to(repo)), ast.parse(path.read_text(encoding="utf-8"))


def long_functions(place: str, tree: ast.Module) -> Found:
    if place.endswith(KERNELS):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield node.name, f"{place}:{node.lineno}: {node.name} has {lines} lines"


def long_modules(place: str, tree: ast.Module) -> Found:
    lines = max((getattr(node, "end_lineno", 0) or 0 for node in tree.body), default=0)
    if lines > LONGEST_MODULE:
        yield place, f"{place}: {lines} lines"


def positional_calls(place: str, tree: ast.Module) -> Found:
    if place.endswith(KERNELS):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) > MOST_POSITIONAL:
            name = ast.unparse(node.func).rpartition(".")[2]
            yield name, f"{place}:{node.lineno}: {name} is given {len(node.args)} arguments by position"


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [(long_functions, LONG_FUNCTIONS), (long_modules, {}), (positional_calls, POSITIONAL_CALLS)],
)
def test_the_house_keeps_its_rules(
    rule: Callable[[str, ast.Module], Found], allowed: dict[str, str], repo: Path
) -> None:
    found = [one for place, tree in sources(repo) for one in rule(place, tree)]
    assert [words for name, words in found if name not in allowed] == []
    # An exception that nothing needs any more is taken out of the list.
    assert set(allowed) <= {name for name, _ in found}


def test_each_rule_can_fail() -> None:
    body = "\n".join(["def long():", *["    pass"] * 60, "few(1, 2, 3, 4)", "many(1, 2, 3, 4, 5)", *["x = 1"] * 300])
    tree = ast.parse(body)
    assert [name for name, _ in long_functions("a.py", tree)] == ["long"]
    assert [name for name, _ in long_modules("a.py", tree)] == ["a.py"]
    assert [name for name, _ in positional_calls("a.py", tree)] == ["many"]


def public_calls() -> Iterator[tuple[str, Callable[..., object]]]:
    """Every function of the public API, and the public methods of its classes that are ours."""
    for name in matryoshka_text.__all__:
        one = getattr(matryoshka_text, name)
        if not inspect.isclass(one):
            yield name, one
            continue
        for own, member in inspect.getmembers(one):
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            ours = inspect.isfunction(function) and function.__module__.startswith("matryoshka_text")
            if ours and (not own.startswith("_") or own == "__init__"):
                yield f"{name}.{own}", function


def test_no_public_signature_has_any() -> None:
    calls = dict(public_calls())
    assert {"evaluate", "train", "MatryoshkaEncoder.encode", "Rotation.__init__"} <= set(calls)
    with_any = set()
    for name, one in calls.items():
        if any(_has_any(hint) for hint in get_type_hints(one).values()):
            with_any.add(name)
    assert with_any == ANY_ALLOWED


def _has_any(hint: object) -> bool:
    return hint is Any or any(_has_any(part) for part in getattr(hint, "__args__", ()))
