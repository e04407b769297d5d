"""What `mtext check` finds wrong with a rotation, nothing run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from matryoshka_text.build.check import inspect_recipe
from matryoshka_text.encoder import MatryoshkaEncoder

Check = Callable[..., list[str]]


@pytest.fixture
def check(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """The problems of a recipe with this rotation and other keys, without the file's name."""
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("".join(f"text number {i}\n" for i in range(100)))
    own = [{"name": "t", "file": "t.txt", "kind": "text"}]

    def problems(rotation: dict[str, Any], **more: Any) -> list[str]:
        values = {"name": "r", "base": {"model": str(tiny_model)}, "dims": [4, 32]}
        values |= {"rotation": {"data": own} | rotation, **more}
        Path("r.yaml").write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}, sort_keys=False))
        return [line.removeprefix("r.yaml:").partition(": ")[2] for line in inspect_recipe(Path("r.yaml")).problems]

    return problems


def test_a_rotation_that_can_be_learned_has_no_problems(check: Check) -> None:
    assert check({}) == []
    data = [{"name": "t", "file": "t.txt", "kind": "text"}]
    assert check({"data": None}, data=data, batch={"size": 5000}) == []


@pytest.mark.parametrize(
    ("rotation", "more", "expected"),
    [
        (
            {"data": [{"name": "t", "file": "none.txt", "kind": "text"}]},
            {},
            "rotation.data[0].file: found no file",
        ),
        ({"texts": 50}, {}, "rotation: found 50 different texts in all; allowed: at least 64"),
        ({"neighbours": 90}, {}, "rotation.data[0]: found 100 different texts in 't', 90 of them to learn from"),
        ({"dims": [4, 40]}, {}, "rotation.dims[1]: found 40, and "),
        ({}, {"dims": [32]}, "dims: found [32], but a rotation changes prefixes below the width only, which is 32"),
    ],
)
def test_what_can_be_known_is_told_with_its_key(
    check: Check, rotation: dict[str, Any], more: dict[str, Any], expected: str
) -> None:
    (found,) = check(rotation, **more)
    assert found.startswith(expected)


def test_columns_are_looked_for(check: Check) -> None:
    Path("a.csv").write_text("first,second\na,b\n")
    found = check({"data": [{"name": "a", "file": "a.csv", "kind": "pairs"}]})
    assert found[0].startswith("rotation.data[0].columns.anchor: found no column 'anchor' in a.csv")


def test_a_base_that_was_cut_is_told(check: Check, tiny_model: Path, tmp_path: Path) -> None:
    MatryoshkaEncoder(tiny_model, device="cpu").truncated(dim=16).save(str(tmp_path / "cut"))
    (found,) = check({}, base={"model": "./cut"}, dims=[4])
    assert found.startswith("base.model: found './cut', which ends in a Dense from 32 to 16 dims")


def test_a_teacher_that_is_too_narrow_is_told(check: Check, tiny_model: Path, tmp_path: Path) -> None:
    MatryoshkaEncoder(tiny_model, device="cpu").truncated(dim=16).save(str(tmp_path / "narrow"))
    Path("p.csv").write_text("anchor,positive\na,b\nc,d\n")
    (found,) = check(
        {},
        dims=[20, 32],
        data=[{"name": "p", "file": "p.csv", "kind": "pairs"}],
        objectives=[{"kind": "distill", "teacher": "./narrow", "vector_weight": 2}],
        batch={"size": 2},
        stopping={"steps": 1},
    )
    assert found.startswith("objectives[0].vector_weight: found 2, but the teacher's vectors are 16 long")
