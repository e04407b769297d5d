"""Files of every allowed kind give the same rows, and every broken line its place."""

import csv
import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from matryoshka_text.data import read_source
from matryoshka_text.errors import DataError
from matryoshka_text.reading import TABLE_SUFFIXES, Faults, Table, Texts, columns_of, open_table, require_columns
from matryoshka_text.recipe import Source

ROWS = [
    {"a": "first, with a comma", "b": "12"},
    {"a": 'a "quoted" text\nover two lines', "b": "NA"},
    {"a": "é and 漢字", "b": "null"},
]

SOURCE = Source(name="s", file="a.jsonl", kind="pairs")


def as_bytes(suffix: str) -> bytes:
    if suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        out = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), out)
        return out.getvalue()
    if suffix.startswith((".csv", ".tsv")):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, ["a", "b"], delimiter="\t" if "tsv" in suffix else ",")
        writer.writeheader()
        writer.writerows(ROWS)
        data = text.getvalue().encode()
    else:
        data = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    return gzip.compress(data) if suffix.endswith(".gz") else data


def opened(path: Path) -> tuple[Table, list[tuple[int, dict[str, object]]], Faults]:
    faults = Faults()
    table = open_table(path, faults, ("a", "b"), key="data[0].file")
    return table, [(number, dict(row)) for number, row in table.rows], faults


def told(faults: Faults) -> list[str]:
    with pytest.raises(DataError) as error:
        faults.raise_any()
    return str(error.value).splitlines()


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_every_kind_of_file_gives_the_same_texts(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(as_bytes(suffix))
    table, rows, faults = opened(path)
    assert table.columns == ("a", "b")
    assert [row for _, row in rows] == ROWS  # "12", "NA" and "null" stay texts
    assert faults.count == 0


def test_numbers_are_the_lines_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(as_bytes(".jsonl"))
    assert [number for number, _ in opened(tmp_path / "rows.jsonl")[1]] == [1, 2, 3]
    (tmp_path / "rows.csv").write_bytes(as_bytes(".csv"))
    assert [number for number, _ in opened(tmp_path / "rows.csv")[1]] == [2, 3, 5]  # the header is line 1


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("\ufeffa,b\nx,y\n", encoding="utf-8")
    assert opened(tmp_path / "rows.csv")[0].columns == ("a", "b")


def test_a_long_document_fits_into_a_csv_cell(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n" + "x" * 200_000 + ",y\n")
    assert len(str(opened(tmp_path / "rows.csv")[1][0][1]["a"])) == 200_000


def test_columns_that_the_first_object_leaves_out_are_known(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": "x"}\n{"a": "y", "b": "z"}\n')
    assert opened(tmp_path / "rows.jsonl")[0].columns == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("r.jsonl", '{"a": "x"}\n{"a": \n', ":2: found broken JSON (Expecting value); allowed: one JSON object a line"),
        ("r.jsonl", '{"a": "x"}\n["x"]\n', ":2: found ['x']; allowed: an object with named texts; correct it"),
        ("r.jsonl", "[" * 100_000 + "\n", ":1: found broken JSON (nested too deeply); allowed: one JSON object a line"),
        ("r.csv", "a,b\nx,y\nz\n", ":3: found 1 cells; allowed: 2, as in the header; add or quote cells"),
        ("r.csv", "a,b\nx,y,z\n", ":2: found 3 cells; allowed: 2, as in the header; add or quote cells"),
        ("r.tsv", 'a\tb\n"x\ny\tz\n', ":2: found 1 cells; allowed: 2, as in the header; add or quote cells"),
    ],
)
def test_broken_lines_become_faults(tmp_path: Path, name: str, content: str, expected: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as error:
        opened(tmp_path / name)[2].raise_any()
    assert f"{tmp_path / name}{expected}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.jsonl", '\n{"a": "x"}\n\n{"a": "y"}\n\n\n'),
        ("r.csv", "a,b\nx,1\n\ny,2\n\n\n"),
        ("r.tsv", "a\tb\nx\t1\n\ny\t2\n\n\n"),
    ],
)
def test_blank_lines_are_passed_over_and_counted(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    _, rows, faults = opened(tmp_path / name)
    assert [(number, row["a"]) for number, row in rows] == [(2, "x"), (4, "y")]
    assert faults.count == 0


@pytest.mark.parametrize("name", ["r.csv", "r.tsv"])
def test_a_blank_line_of_one_column_is_an_empty_cell(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a\nx\n\n\ny\n\n")
    assert opened(tmp_path / name)[1] == [(2, {"a": "x"}), (3, {"a": ""}), (4, {"a": ""}), (5, {"a": "y"})]


def test_every_kind_of_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    for suffix in TABLE_SUFFIXES:
        data = as_bytes(suffix)
        if suffix != ".parquet":
            plain = gzip.decompress(data) if suffix.endswith(".gz") else data
            data = gzip.compress(b"\xef\xbb\xbf" + plain) if suffix.endswith(".gz") else b"\xef\xbb\xbf" + plain
        (tmp_path / f"r{suffix}").write_bytes(data)
        assert [row for _, row in opened(tmp_path / f"r{suffix}")[1]] == ROWS


def test_columns_inside_others_are_named_by_dots(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"q": {"text": f"t{i}", "by": {"name": "n"}}, "a": "x"} for i in range(3)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "r.parquet")
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("r.parquet", "r.jsonl"):
        for wanted in (("q.text", "q.by.name", "a"), None):
            table = open_table(tmp_path / name, Faults(), wanted)
            require_columns(table, {"anchor": "q.text"}, "data[0]")
            found = [(row["q.text"], row["q.by.name"], row["a"]) for _, row in table.rows]
            assert found == [(f"t{i}", "n", "x") for i in range(3)]
        assert set(columns_of(tmp_path / name) or ()) == {"q.text", "q.by.name", "a"}
    with pytest.raises(DataError, match=r"found no column 'q' in .*; allowed: q\.text, q\.by\.name, a"):
        require_columns(open_table(tmp_path / "r.jsonl", Faults(), ("q",)), {"anchor": "q"}, "data[0]")


def test_a_column_name_twice_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    twice = pyarrow.Table.from_arrays([pyarrow.array(["x"]), pyarrow.array(["y"])], names=["a", "a"])
    pyarrow.parquet.write_table(twice, tmp_path / "r.parquet")
    with pytest.raises(DataError, match=r"r\.parquet: found a column name twice, 'a'; allowed: different names"):
        opened(tmp_path / "r.parquet")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("r.jsonl", b"", "found no rows; allowed: at least one; fill the file, or leave it out"),
        ("r.csv", b"a,b\n", "found no rows"),
        ("r.json", b"[]", "found no rows"),
        ("r.json", b'[{"a": 1},\n 5', ":2: found broken JSON"),
        ("r.csv", b'a,b\n"x,y\n', ":2: found broken CSV"),
        ("r.csv", b"a,a\nx,y\n", ":1: found a column name twice"),
        ("r.jsonl", b'{"a": 1}\n' * 2000 + b'{"a": "\xff"}\n', ":2001: found bytes that are not UTF-8"),
        ("r.jsonl.gz", b'{"a": "x"}\n', "cannot be read (Not a gzipped file"),
        ("r.jsonl.gz", gzip.compress(b'{"a": "x"}\n' * 99, mtime=0)[:-9], "cannot be read ("),
        ("r.parquet", b"PAR1", "is a broken parquet file"),
        ("r.docx", b"PK", "is of no known kind; allowed: .txt"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        opened(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert expected in str(error.value)


@pytest.mark.parametrize("name", ["t.txt", "t.txt.gz"])
def test_plain_text_has_one_text_a_line(tmp_path: Path, name: str) -> None:
    data = '\ufefffirst, "text"\r\n\n  \n\tsecond\u2028text \nNA'.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    table, rows, faults = opened(tmp_path / name)
    assert table.columns == ("text",)
    assert rows == [(1, {"text": 'first, "text"'}), (4, {"text": "second\u2028text"}), (5, {"text": "NA"})]
    assert faults.count == 0


def test_plain_text_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"\n \n")
    with pytest.raises(DataError, match=r"t\.txt: found no rows; allowed: at least one; fill the file"):
        opened(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(DataError, match=r"t\.txt:2: found bytes that are not UTF-8"):
        opened(tmp_path / "t.txt")
    with pytest.raises(DataError, match=r"found no file .*tt\.txt; .* there are t\.txt"):
        opened(tmp_path / "tt.txt")


def test_a_missing_file_offers_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError) as error:
        opened(tmp_path / "pair.jsonl")
    assert str(error.value) == (
        f"data[0].file: found no file {tmp_path}/pair.jsonl; allowed: an existing file (relative to the recipe's "
        f"folder); in {tmp_path} there are pairs.jsonl"
    )
    with pytest.raises(DataError, match="found the folder"):
        opened(tmp_path)
    with pytest.raises(DataError, match="has no data files"):
        opened(tmp_path / "none" / "x.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    with pytest.raises(DataError, match=r"found a link that leads nowhere, .*loop\.csv; allowed: a file"):
        opened(tmp_path / "loop.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"found a pipe or a device, .*pipe\.csv; allowed: a file"):
        opened(tmp_path / "pipe.csv")


def test_the_first_ten_faults_are_told_and_the_others_counted(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"a": "x"}\n' + "{\n" * 25)
    lines = told(opened(tmp_path / "r.jsonl")[2])
    assert len(lines) == 11
    assert lines[-1] == "and 15 more faults of this data set"


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    texts: Callable[[Path], list[object]] = lambda path: [row["a"] for _, row in opened(path)[1]]  # noqa: E731
    for suffix in (".jsonl", ".csv.gz", ".parquet"):
        path = tmp_path / f"rows{suffix}"
        path.write_bytes(as_bytes(suffix))
        before = texts(path)
        ROWS[0]["a"] = "changed, with a comma"  # the same length: size and time stamp could hide it
        try:
            path.write_bytes(as_bytes(suffix))
            assert texts(path) != before
        finally:
            ROWS[0]["a"] = "first, with a comma"


def test_bytes_of_other_encodings_are_told_with_line_byte_and_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text\nplain\ncaf\u00e9 noir\n".encode("latin-1"))
    with pytest.raises(
        DataError, match=r"a\.csv:3: .* \(byte 4 of the line is 0xe9: .*iconv -f latin1 -t utf-8 a\.csv"
    ):
        open_table(tmp_path / "a.csv", Faults())
    (tmp_path / "b.csv").write_bytes("text\nplain\n".encode("utf-16"))
    with pytest.raises(
        DataError, match=r"b\.csv:1: .*if it is utf-16 run `iconv -f utf-16 -t utf-8 b\.csv > new\.csv`"
    ):
        open_table(tmp_path / "b.csv", Faults())


@pytest.mark.parametrize(
    ("kind", "found"),
    [("pipe", "a pipe or a device"), ("device", "a pipe or a device"), ("loop", "a link that leads nowhere")],
)
def test_what_is_no_file_is_named_and_never_opened(tmp_path: Path, kind: str, found: str) -> None:
    path = tmp_path / "a.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "a.jsonl")
    for read in (lambda: open_table(path, Faults()), lambda: Texts([path]), lambda: read_source(SOURCE, tmp_path)):
        with pytest.raises(DataError, match=f"found {found}, .*a.jsonl; allowed: a file"):
            read()


def test_the_columns_of_other_projects_are_meant(tmp_path: Path) -> None:
    names = {"query": "q", "pos": "p", **{f"negative_{n}": "n" for n in range(1, 6)}}
    (tmp_path / "a.jsonl").write_text(json.dumps(names) + "\n")
    with pytest.raises(DataError) as error:
        read_source(Source(name="s", file="a.jsonl", kind="triplets"), tmp_path)
    hints = [line.rpartition("; ")[2] for line in str(error.value).splitlines()]
    assert hints == [
        "write `anchor: query`",
        "write `positive: pos`",
        "write `negatives: [negative_1, negative_2, negative_3, negative_4, negative_5]`",
    ]
