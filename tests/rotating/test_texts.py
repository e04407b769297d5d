import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from matryoshka_text.errors import DataError
from matryoshka_text.rotating.texts import Reading, read_sources


def test_each_file_is_a_source_and_several_columns_are_of_it(lines: Path, rows: Path, sentences: list[str]) -> None:
    first, second = read_sources([lines, rows], Reading(("question", "answer")))
    assert (first.name, first.columns, first.read, first.texts) == ("lines.txt", (), 400, tuple(sentences))
    assert (second.name, second.columns, second.read, len(second.texts)) == (
        "rows.jsonl",
        ("question", "answer"),
        200,
        200,
    )
    assert set(second.texts) == {f"{word} {text}" for word in ("can", "no") for text in sentences[:100]}


def test_a_column_that_only_some_files_have(tmp_path: Path, rows: Path) -> None:
    (tmp_path / "other.csv").write_text("n,body\n1,hello\n")
    found = read_sources([rows, tmp_path / "other.csv"], Reading(("question", "body")))
    assert [one.columns for one in found] == [("question",), ("body",)]
    with pytest.raises(DataError, match="--column: found 'titel', which no file has; allowed: answer, body, id, n, q"):
        read_sources([rows, tmp_path / "other.csv"], Reading(("question", "body", "titel")))
    with pytest.raises(DataError, match=r"other.csv: found no column 'question'; allowed: n, body"):
        read_sources([rows, tmp_path / "other.csv"], Reading(("question", "answer")))


def test_every_kind_of_file(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"n": [1, 2], "text": ["one", "two"]}), tmp_path / "a.parquet")
    (tmp_path / "b.tsv").write_text("n\ttext\n1\tone\n2\ttwo\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"text\none\ntwo\n"))
    (tmp_path / "d.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    files = sorted(tmp_path.iterdir())
    assert [one.texts for one in read_sources(files, Reading())] == [("one", "two")] * 5


def test_equal_texts_count_once_blank_ones_do_not_and_long_ones_are_cut() -> None:
    texts = ["A cat", "a  cat ", "", " \t", "a dog", "x" * 50, "x" * 60]
    (found,) = read_sources(texts, Reading(max_characters=20))
    assert found.texts == ("A cat", "a dog", "x" * 20)
    assert (found.read, found.blank, found.name, found.file) == (7, 2, "texts", None)


def test_the_draw_is_by_seed_fair_and_the_same_in_any_order() -> None:
    texts = [f"text {i}" for i in range(1000)]

    def drawn(texts: list[str], seed: int) -> tuple[str, ...]:
        return read_sources(texts, Reading(most=100, seed=seed))[0].texts

    first = drawn(texts, 0)
    assert len(first) == 100
    assert list(first) == sorted(first, key=lambda text: int(text.split()[1]))
    assert set(drawn(texts[::-1], 0)) == set(first)
    assert set(drawn(texts + texts, 0)) == set(first)
    assert len(set(drawn(texts, 1)) & set(first)) < 30
    counts = [0] * 10
    for seed in range(50):
        for text in drawn(texts, seed):
            counts[int(text.split()[1]) // 100] += 1
    assert min(counts) > 430 and max(counts) < 570


def test_two_files_of_one_name_are_called_by_their_paths(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text("one\n")
    found = read_sources([tmp_path / "a/x.txt", tmp_path / "b/x.txt"], Reading())
    assert [one.name for one in found] == [str(tmp_path / "a/x.txt"), str(tmp_path / "b/x.txt")]
    with pytest.raises(DataError, match=r"x.txt: is given twice; allowed: each file once; leave one out"):
        read_sources([tmp_path / "a/x.txt", tmp_path / "a/x.txt"], Reading())


Make = Callable[[Path], Any]
WRONG: list[tuple[Make, str]] = [
    (lambda _: "one text", "found one string, 'one text'; allowed: a list of strings, or Path objects"),
    (lambda _: {}, "found no source; allowed: at least one file or list of texts"),
    (lambda _: ["a", 7], r"texts\[1\] is 7, a int; allowed: strings"),
    (lambda _: {"mine": "a"}, "source 'mine' is one string; allowed: a list of strings"),
    (lambda at: [at / "none.txt"], "found no file .*none.txt"),
    (lambda at: [at], "found the folder .*; allowed: a file"),
    (lambda at: [at / "empty.txt"], "empty.txt: found no rows; allowed: at least one"),
    (lambda at: [at / "bytes.txt"], "bytes.txt:1: found bytes that are not UTF-8"),
    (lambda at: [at / "broken.jsonl"], "broken.jsonl:1: found broken JSON"),
    (lambda at: [at / "number.jsonl"], "number.jsonl:1: text .column 'text'.: found 7 .int.; allowed: a text"),
    (lambda at: [at / "broken.parquet"], "broken.parquet: is a broken parquet file|broken.parquet: cannot be read"),
    (lambda at: [at / "picture.png"], "picture.png: is of no known kind"),
    (lambda at: [Path("-")], "--texts: found -, which cannot be read again"),
]


@pytest.mark.parametrize(("given", "told"), WRONG)
def test_what_cannot_be_read_is_told(given: Make, told: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\n")
    (tmp_path / "broken.jsonl").write_text('{"text": \n')
    (tmp_path / "number.jsonl").write_text(json.dumps({"text": 7}) + "\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(DataError, match=told):
        read_sources(given(tmp_path), Reading())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"most": 0}, "--most: found 0; allowed: a whole number from 1"),
        ({"max_characters": -1}, "--max-characters: found -1"),
        ({"columns": ()}, "--column: none is given"),
    ],
)
def test_settings_out_of_bounds(words: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        Reading(**words)
