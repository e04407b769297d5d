import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from matryoshka_text.bundled import bundled
from matryoshka_text.errors import DataError
from matryoshka_text.reading import Texts, columns_of, read_texts

ROWS = ["one text", "", "  blanks at the ends ", 'commas, "quotes" and é', "the last"]


def _written(path: Path, rows: list[str]) -> Path:
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1]
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"n": range(len(rows)), "text": rows}), path, row_group_size=2)
        return path
    content = {
        "txt": lambda: "".join(f"{row}\n" for row in rows),
        "jsonl": lambda: "".join(json.dumps({"n": i, "text": row}) + "\n" for i, row in enumerate(rows)),
        "csv": lambda: "n,text\n" + "".join('{},"{}"\n'.format(i, r.replace('"', '""')) for i, r in enumerate(rows)),
        "json": lambda: json.dumps([{"n": i, "text": row} for i, row in enumerate(rows)], indent=1),
        "tsv": lambda: "n\ttext\n" + "".join(f"{i}\t{row}\n" for i, row in enumerate(rows)),
    }[kind]()
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


@pytest.mark.parametrize(
    "name",
    ["a.txt", "a.txt.gz", "a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz", "a.parquet", "a.json"],
)
def test_every_row_of_every_kind_of_file_is_a_text(tmp_path: Path, name: str) -> None:
    path = _written(tmp_path / name, ROWS)
    texts = Texts([path, path])
    assert [text.text for text in texts] == ROWS * 2
    assert [text.text for text in texts] == ROWS * 2
    first, second = texts.survey()
    assert first == second
    assert (first.file, first.rows) == (str(path), 5)
    number = 6 if ".csv" in name or ".tsv" in name else 5
    assert list(texts)[4].place == f"{path}:{number}"
    assert [text.text for text in texts.head(7)] == (ROWS * 2)[:7]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\u2028two\rthree\r\nlast".encode())
    assert [text.text for text in Texts([tmp_path / "a.txt"])] == ["one\u2028two\rthree", "last"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"text": null}', "text (column 'text'): found null; allowed: a text; write a text there"),
        ('{"text": 7}', "found 7"),
        ('{"other": "x"}', "found no such cell"),
        ('{"text": "\\ud800"}', "allowed: a text"),
        ("[1]", "allowed: an object"),
        ("{", "found broken JSON"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, found: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n' * 2 + f"{line}\n" + '{"text": "good"}\n')
    with pytest.raises(DataError) as error:
        Texts([path]).survey()
    assert str(error.value).startswith(f"{path}:3: ")
    assert found in str(error.value)
    with pytest.raises(DataError, match=r"a\.jsonl:3"):
        list(Texts([path]))


def test_all_files_faults_are_told_together(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.tsv").write_text("n\ttext\n1\tgood\n2\n")
    with pytest.raises(DataError) as error:
        Texts([tmp_path / "a.tsv", tmp_path / "b.tsv"]).survey()
    assert [line.split(": ")[0] for line in str(error.value).splitlines()] == [
        f"{tmp_path}/a.tsv:3",
        f"{tmp_path}/b.tsv:3",
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.parquet"])
def test_a_missing_column_is_told_with_those_there_are(tmp_path: Path, name: str) -> None:
    path = _written(tmp_path / name, ROWS)
    with pytest.raises(DataError, match=r"found no column 'txt'; allowed: n, text; give --column text"):
        Texts([path], "txt").survey()


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.txt.gz", "a.json"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str) -> None:
    path = _written(tmp_path / name, [])
    with pytest.raises(DataError, match=f"{name}: found no rows; allowed: at least one; fill the file"):
        Texts([path]).survey()


def test_what_is_no_file_of_texts(tmp_path: Path) -> None:
    _written(tmp_path / "texts.txt", ROWS)
    (tmp_path / "a.docx").write_text("x")
    for inputs, message in (
        ([], "no input given"),
        ([tmp_path], "found the folder .*; allowed: a file"),
        ([tmp_path / "text.txt"], r"found no file .*; in .* there are texts\.txt"),
        ([tmp_path / "a.docx"], r"is of no known kind; allowed: \.txt"),
        (["-", tmp_path / "texts.txt"], "found - next to 1 files; allowed: files, or only -"),
    ):
        with pytest.raises(DataError, match=message):
            Texts(inputs)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.parquet", "a.jsonl.gz"])
def test_a_file_that_breaks_off_is_an_error(tmp_path: Path, name: str) -> None:
    path = _written(tmp_path / name, ROWS * 50)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=name):
        Texts([path]).survey()


def test_standard_input_is_a_text_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin: Any = io.TextIOWrapper(io.BytesIO("\ufeffone\n\nthrée\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    texts = Texts(["-"])
    assert texts.from_stdin
    assert [text.text for text in texts.head(2)] == ["one", ""]
    assert [text.text for text in texts.head(1)] == ["one"]
    assert [(text.text, text.place) for text in texts][1:] == [("", "standard input:2"), ("thrée", "standard input:3")]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"good\n\xff\n")))
    with pytest.raises(DataError, match="standard input:2: found bytes that are not UTF-8"):
        list(Texts(["-"]))


def test_the_columns_of_a_file(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv.gz", "a.tsv", "a.parquet"):
        assert columns_of(_written(tmp_path / name, ROWS)) == ("n", "text")
    assert columns_of(_written(tmp_path / "a.txt", ROWS)) is None
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="is a broken parquet file"):
        columns_of(tmp_path / "broken.parquet")


def test_plain_and_gzip_are_read_alike(tmp_path: Path) -> None:
    lines = "  eins zwei \n\nüber\u2028drei\r\n \n"
    (tmp_path / "a.txt").write_bytes(lines.encode())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(lines.encode()))
    # A line separator inside a text is no end of a line.
    assert read_texts(tmp_path / "a.txt") == read_texts(tmp_path / "a.txt.gz") == ["eins zwei", "über\u2028drei"]


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.txt: found no rows; allowed: at least one"):
        read_texts(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", b"\xff\xfe\x00"), ("a.txt.gz", b"plain"), ("a.txt.gz", gzip.compress(b"cat dog " * 99, mtime=0)[:-9])],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read \(.*\); allowed: a whole|:1: found bytes that are not UTF-8"):
        read_texts(tmp_path / name)


def test_the_bundled_texts_have_no_line_in_common() -> None:
    folder = bundled("recipes") / "data" / "text"
    train, held_out = ({line.lower() for line in read_texts(folder / f"{n}.txt.gz")} for n in ("train", "held_out"))
    assert (len(train), len(held_out)) == (21_067, 978)
    assert not train & held_out
    assert min(len(line.split()) for line in train | held_out) >= 8
