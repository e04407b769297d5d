"""Held-out sets."""

import json
from pathlib import Path
from typing import Any

import pytest

from matryoshka_text.data import read_held_out
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import HeldOut


def write(folder: Path, scores: list[Any]) -> HeldOut:
    rows = [{"sentence1": f"a{i}", "sentence2": f"b{i}", "score": score} for i, score in enumerate(scores)]
    (folder / "sts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return HeldOut(name="sts", file="sts.jsonl", kind="sts")


def test_sts_has_scores(tmp_path: Path) -> None:
    found = read_held_out(write(tmp_path, [0, 2.5, "5"]), tmp_path)
    assert (found.name, found.kind, len(found)) == ("sts", "sts", 3)
    assert (found.first[1], found.second[1]) == ("a1", "b1")
    assert found.scores is not None
    assert found.scores.tolist() == [0.0, 2.5, 5.0]


def test_pairs_have_none(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("question,passage\na,b\n")
    columns = {"anchor": "question", "positive": "passage"}
    found = read_held_out(HeldOut(name="p", file="p.csv", kind="pairs", columns=columns), tmp_path)
    assert (found.first, found.second, found.scores) == (["a"], ["b"], None)


@pytest.mark.parametrize(
    ("cell", "shown"), [("x", "'x'"), (None, "null"), (True, "true"), ("nan", "'nan'"), ([1], "[1]")]
)
def test_a_score_that_is_no_number(tmp_path: Path, cell: Any, shown: str) -> None:
    with pytest.raises(DataError) as error:
        read_held_out(write(tmp_path, [1, cell]), tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/sts.jsonl:2: score (column 'score'): found {shown}; allowed: a finite number; "
        "correct it, or delete the row"
    )


def test_one_score_for_all_rows_can_rank_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 3 rows with one and the same score; allowed: at least two different"):
        read_held_out(write(tmp_path, [1, 1, 1]), tmp_path)


def test_missing_file_and_column_name_their_key(tmp_path: Path) -> None:
    held_out = write(tmp_path, [1, 2]).model_copy(update={"file": "none.jsonl"})
    with pytest.raises(DataError, match=r"^evaluation\.data\[0\]\.file: found no file"):
        read_held_out(held_out, tmp_path, key="evaluation.data[0]")
    wrong = HeldOut(name="p", file="sts.jsonl", kind="sts", columns={"score": "scores"})
    with pytest.raises(DataError, match=r"columns\.score: found no column 'scores' .* write `score: score`"):
        read_held_out(wrong, tmp_path)


def test_a_sample_does_not_depend_on_the_seed_of_the_recipe(tmp_path: Path) -> None:
    held_out = write(tmp_path, list(range(50))).model_copy(update={"rows": 8})
    found = read_held_out(held_out, tmp_path)
    assert len(found) == 8
    assert found.first == read_held_out(held_out, tmp_path).first


def test_labelled_texts_have_classes_and_places(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_text('{"text": "a", "c": 3}\n{"text": "b", "c": "joy"}\n')
    found = read_held_out(HeldOut(name="l", file="l.jsonl", kind="labelled", columns={"label": "c"}), tmp_path)
    assert (found.kind, found.first, found.second, found.scores) == ("labelled", ["a", "b"], [], None)
    assert found.labels == ["3", "joy"]
    assert [found.place(row) for row in range(len(found))] == [f"{tmp_path}/l.jsonl:1", f"{tmp_path}/l.jsonl:2"]


def test_a_label_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_text('{"text": "a", "label": null}\n')
    with pytest.raises(DataError) as error:
        read_held_out(HeldOut(name="l", file="l.jsonl", kind="labelled"), tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/l.jsonl:1: label (column 'label'): found null; allowed: a text or a whole number; "
        "fill the cell, or delete the row"
    )


@pytest.mark.parametrize("name", ["t.txt", "t.jsonl"])
def test_plain_text(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.txt").write_text("a\n\nb\n")
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    found = read_held_out(HeldOut(name="t", file=name, kind="text"), tmp_path)
    assert (found.kind, found.first, found.second, found.scores, found.labels) == ("text", ["a", "b"], [], None, None)
    assert found.place(1) == f"{tmp_path}/{name}:{3 if name == 't.txt' else 2}"
