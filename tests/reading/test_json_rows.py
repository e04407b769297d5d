"""JSON lines, and .json files that are one document."""

import json
from pathlib import Path
from typing import Any

import pytest

from matryoshka_text.errors import DataError
from matryoshka_text.reading import Faults, open_table
from matryoshka_text.reading.json_rows import json_rows

ROWS = [{"a": "x", "b": "1"}, {"a": "y", "b": "2"}]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "document",
    [
        ROWS,
        {"version": 1, "data": ROWS},
        {"columns": ["a", "b"], "index": [0, 1], "data": [["x", "1"], ["y", "2"]]},
    ],
)
def test_a_json_file_may_be_one_document(tmp_path: Path, document: Any, indent: int | None) -> None:
    (tmp_path / "r.json").write_text("\n" + json.dumps(document, indent=indent) + "\n\n")
    faults = Faults()
    assert list(json_rows(tmp_path / "r.json", faults)) == list(enumerate(ROWS, start=1))
    assert faults.count == 0


def test_a_json_file_may_hold_lines_or_one_object(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert list(json_rows(path, Faults())) == list(enumerate(ROWS, start=1))
    for indent in (None, 2):
        path.write_text(json.dumps(ROWS[0], indent=indent))
        assert list(json_rows(path, Faults())) == [(1, ROWS[0])]


def test_a_row_may_have_a_column_called_data(tmp_path: Path) -> None:
    rows = [{"data": [{"a": "x"}]}, {"data": [{"a": "y"}]}]
    for name in ("r.json", "r.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert list(json_rows(tmp_path / name, Faults())) == list(enumerate(rows, start=1))
    (tmp_path / "one.json").write_text(json.dumps({"data": ["x"]}))
    assert list(json_rows(tmp_path / "one.json", Faults())) == [(1, {"data": ["x"]})]


def test_broken_documents_are_told(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for content in ('[{"a": 1},\n 5', "[" * 100_000):
        path.write_text(content)
        with pytest.raises(DataError, match=r"r\.json:\d: found broken JSON \(.*\); allowed: one array of objects"):
            list(json_rows(path, Faults()))
    path.write_text('{"data": [\n {"a": 1},\n')
    faults = Faults()
    assert list(json_rows(path, faults)) == []
    assert faults.count == 2


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_nested_deeply_is_told_at_any_depth(tmp_path: Path, name: str) -> None:
    for depth in (98, 101, 500, 900, 3000, 100_000):
        text = '{"text": "x", "more": ' + '{"a":[' * (depth // 2) + "]}" * (depth // 2) + "}"
        (tmp_path / name).write_text(text + "\n" + '{"text": "y"}\n' * (name == "a.jsonl"))
        faults = Faults()
        if depth < 100:
            assert next(open_table(tmp_path / name, faults).rows)[1]["text"] == "x"
            continue
        with pytest.raises(DataError, match=rf"{name}:1: found (JSON nested more than 100 deep|.*nested too deeply)"):
            list(open_table(tmp_path / name, faults).rows)
            faults.raise_any()


def test_a_number_of_too_many_digits(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"label": ' + "9" * 5000 + "}\n")
    with pytest.raises(DataError, match=r"a\.jsonl:1: found broken JSON \(a number of more than 4,300 digits\)"):
        open_table(tmp_path / "a.jsonl", Faults())
