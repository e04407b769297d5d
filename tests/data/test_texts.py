"""The texts that a rotation is learned from."""

import json
from pathlib import Path
from typing import Any

import pytest

from matryoshka_text.data import different, read_rotation_texts, require_enough_texts, rotation_texts
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import Recipe, RotationSection, Source
from tests.builders import source_rows


def recipe(folder: Path, *sources: dict[str, Any], **section: Any) -> Recipe:
    values = {"name": "r", "base": {"model": "a/b"}, "dims": [2], "folder": folder}
    return Recipe.model_validate(values | {"rotation": {"data": list(sources), **section}})


def test_equal_texts_count_once_case_and_blanks_aside() -> None:
    assert different(["A  b", "c", "a b ", "C", "d"]) == [0, 1, 4]


def test_texts_are_cut_then_counted_once_then_drawn() -> None:
    pairs = Source.model_validate({"name": "x", "file": "x.jsonl", "kind": "pairs"})
    rows = source_rows("x", [("abcdef", "abcxyz"), ("Abc", "other")], [1, 2])
    found = rotation_texts(pairs, rows, RotationSection(max_characters=3), 0)
    assert (found.texts, found.prompts) == (["abc", "oth"], ["query", "document"])
    single = Source.model_validate({"name": "x", "file": "x.txt", "kind": "text"})
    many = source_rows("x", [(f"text {i}",) for i in range(50)], list(range(50)))
    drawn = [rotation_texts(single, many, RotationSection(texts=10), seed).texts for seed in (0, 1)]
    assert all(len(one) == 10 for one in drawn) and drawn[0] != drawn[1]
    assert drawn[0] == rotation_texts(single, many, RotationSection(texts=10), 0).texts
    assert drawn[0] == sorted(drawn[0], key=lambda text: int(text.split()[1]))


def test_every_column_of_every_kind_is_a_text(tmp_path: Path) -> None:
    rows = [{"sentence1": f"a{i}", "sentence2": f"b{i}", "score": i, "label": "x", "text": f"t{i}"} for i in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kinds = {"scored": ["a0", "b0", "a1", "b1", "a2", "b2"], "labelled": ["t0", "t1", "t2"], "text": ["t0", "t1", "t2"]}
    sources = [{"name": kind, "kind": kind, "file": "rows.jsonl"} for kind in kinds]
    found = read_rotation_texts(recipe(tmp_path, *sources), [])
    assert {name: one.texts for name, one in found.items()} == kinds


def test_all_faults_of_all_sources(tmp_path: Path) -> None:
    sources = [{"name": name, "kind": "text", "file": f"{name}.txt"} for name in "ab"]
    with pytest.raises(DataError) as raised:
        read_rotation_texts(recipe(tmp_path, *sources), [])
    assert [line.partition(": ")[0] for line in str(raised.value).splitlines()] == [
        "rotation.data[0].file",
        "rotation.data[1].file",
    ]


def test_too_few_texts_are_told_by_source_and_in_all() -> None:
    section = RotationSection(held_back=0.5)
    require_enough_texts(section, {"a": 100, "b": 9}, 50)
    with pytest.raises(DataError) as raised:
        require_enough_texts(section, {"a": 50, "b": 8}, 50)
    first, second = str(raised.value).splitlines()
    assert first.startswith("data[1]: found 8 different texts in 'b', 4 of them to learn from; allowed: at least 5")
    assert second.startswith("rotation: found 58 different texts in all; allowed: at least 100, twice the width")
