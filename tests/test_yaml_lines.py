"""YAML as a recipe reads it."""

import os
from pathlib import Path

import pytest

from matryoshka_text.yaml_lines import dump_yaml, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("5.0e-5", 5e-5),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("2024-01-01", "2024-01-01"),
        ('"5e-5"', "5e-5"),
        ("!!str 5", "5"),
        ("[1, a]", [1, "a"]),
        ("0x10", "0x10"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(f"key: {text}\n")
    assert found.faults == []
    assert found.value == {"key": value}
    assert type(found.value["key"]) is type(value)


@pytest.mark.parametrize(
    "value", ["5e-5", "1e5", "no", "null", "", "12", "1:30", "a: b", "# x", "é", "true", " a ", "~"]
)
def test_texts_survive_a_dump(value: str) -> None:
    assert parse_yaml(dump_yaml({"key": value, "list": [value]})).value == {"key": value, "list": [value]}


def test_every_key_and_item_has_its_line() -> None:
    found = parse_yaml("# a comment\na: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n")
    assert found.lines[("a",)] == 2
    assert found.lines[("b", 0)] == 4
    assert found.lines[("b", 1, "d")] == 6
    assert found.line_of(("b", 1, "missing")) == 5
    assert found.line_of(("missing",)) == 2


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "found the key 'a' again (first in line 1); remove one of the two"),
        ("a: [1\n", 2, "found broken YAML"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "allowed: plain values; remove it"),
        ("a: !Custom x\n", 1, "found the tag '!Custom'"),
        ("? [a]\n: 1\n", 1, "found a key that is no name"),
        ("a: &x [*x]\n", 1, "found an alias to its own section"),
        ("a: \x07\n", 1, "found broken YAML"),
        ("a:\n\tb: 1\n", 2, "found broken YAML"),
    ],
)
def test_faults_have_their_line(text: str, line: int, part: str) -> None:
    found = parse_yaml(text)
    assert [number for number, _ in found.faults] == [line]
    assert part in found.faults[0][1]


def test_aliases_that_stand_for_too_many_values_are_refused() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    found = parse_yaml(bomb)
    assert found.value is None
    assert [text.split(";")[0] for _, text in found.faults] == [
        "found more than 100,000 values, those of aliases counted"
    ]


def test_a_file_that_cannot_be_a_declaration_is_a_fault_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_text("# " + "x" * 1_000_000)
    os.mkfifo(tmp_path / "pipe.yaml")
    found = {name: read_yaml(tmp_path / name).told(Path(name)) for name in ("large.yaml", "pipe.yaml", "none.yaml")}
    assert found == {
        "large.yaml": ("large.yaml: found 1,000,002 bytes; allowed: 1,000,000; write less",),
        "pipe.yaml": ("pipe.yaml: found no plain file; allowed: a YAML file; name one",),
        "none.yaml": (
            "none.yaml: cannot be read (No such file or directory); allowed: a readable file; check its permissions",
        ),
    }
