"""The public surface: what is frozen, and what importing it costs."""

import subprocess
import sys

import pytest

import matryoshka_text

HEAVY = ("torch", "transformers", "sentence_transformers", "datasets", "mteb", "matplotlib", "numpy", "scipy")


def _imported_by(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(*sorted(m for m in {HEAVY!r} if m in sys.modules))"
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    return set(out.split("\n")[-2].split())


def test_the_surface_is_frozen() -> None:
    classes = ["MatryoshkaClassifier", "MatryoshkaEncoder", "MatryoshkaMaskedLM"]
    assert matryoshka_text.__all__ == [*classes, "Rotation", "evaluate", "load_recipe", "rotate", "train"]
    for name in matryoshka_text.__all__:
        assert callable(getattr(matryoshka_text, name))
    from matryoshka_text import nested

    assert {"nested_cross_entropy", "NestedLoss"} <= set(nested.__all__)
    with pytest.raises(AttributeError, match="no attribute 'encode'"):
        _ = matryoshka_text.encode


def test_importing_pulls_in_nothing_heavy() -> None:
    assert _imported_by("import matryoshka_text") == set()
    assert _imported_by("import matryoshka_text.recipe, matryoshka_text.suite, matryoshka_text.rows") == set()


def test_the_probe_itself_can_fail() -> None:
    assert "torch" in _imported_by("import matryoshka_text.nested")


VERBS = ["check", "train", "eval", "encode", "rotate", "dims", "doctor", "index", "search"]


@pytest.mark.parametrize("words", [[], *([verb] for verb in VERBS), ["data"], ["data", "fetch"]])
def test_help_imports_no_torch(words: list[str]) -> None:
    assert _run_by([*words, "--help"]) == set()
    assert _run_by(["--version"]) == set()


def test_the_verbs_are_frozen() -> None:
    from matryoshka_text.cli import app

    assert [command.name for command in app.registered_commands] == VERBS
    below = {group.name: group.typer_instance for group in app.registered_groups}
    assert {name: [one.name for one in verbs.registered_commands] for name, verbs in below.items() if verbs} == {
        "data": ["fetch"]
    }


def _run_by(words: list[str]) -> set[str]:
    code = f"""
sys.argv = ["mtext", *{words!r}]
from matryoshka_text.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""
    return _imported_by(code)


def test_an_unknown_verb_is_an_error_of_use() -> None:
    done = subprocess.run([sys.executable, "-m", "matryoshka_text", "fly"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "fly" in done.stderr
