"""One rule of quoting for commas, semicolons and tabs."""

import csv
import io
from pathlib import Path

import pytest

from matryoshka_text.reading import Faults, open_table
from matryoshka_text.reading.delimited import csv_rows, tsv_rows

CELLS = [
    ['He said "stop" and left', "1"],
    ["a plain line", "2"],
    ["tea, cake; and jam", "3"],
    ["a tab\tinside", "4"],
    ["two\nlines", "5"],
    ["", "6"],
    ['"', "7"],
    ["last\n\nbut long", "the end\nof it"],
]


def rows_of(path: Path, faults: Faults | None = None) -> list[list[str]]:
    faults = Faults() if faults is None else faults
    read = tsv_rows if path.suffix == ".tsv" else csv_rows
    return [list(row.values()) for _, row in read(path, faults)]


@pytest.mark.parametrize(("name", "mark"), [("r.csv", ","), ("r.csv", ";"), ("r.csv", "\t"), ("r.tsv", "\t")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_a_writer_of_csv_writes_is_read(tmp_path: Path, name: str, mark: str, end: str, quoting: int) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=mark, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([["text", "id"], *CELLS])
    (tmp_path / name).write_bytes(text.getvalue().encode())
    faults = Faults()
    assert rows_of(tmp_path / name, faults) == CELLS
    assert faults.count == 0


@pytest.mark.parametrize("cell", ['"Hello" she said', '5" pipe', '"not closed', 'closed"', '""half" a"', "'x'"])
def test_a_quote_that_quotes_no_cell_is_part_of_it(tmp_path: Path, cell: str) -> None:
    (tmp_path / "r.tsv").write_text(f"text\tid\nfirst\t1\n{cell}\t2\nthird\t3\nfourth\t4\n")
    assert rows_of(tmp_path / "r.tsv") == [["first", "1"], [cell, "2"], ["third", "3"], ["fourth", "4"]]


def test_a_quotation_over_two_rows_of_one_column_stays_two(tmp_path: Path) -> None:
    (tmp_path / "r.tsv").write_text('text\n"It begins here\nand ends."\n')
    assert rows_of(tmp_path / "r.tsv") == [['"It begins here'], ['and ends."']]


def test_a_row_has_the_number_of_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "r.tsv").write_text('a\tb\n"x\ny"\t1\nz\t2\n')
    (tmp_path / "r.csv").write_text('a,b\n"x\ny",1\nz,2\n')
    assert [number for number, _ in tsv_rows(tmp_path / "r.tsv", Faults())] == [2, 4]
    assert [number for number, _ in csv_rows(tmp_path / "r.csv", Faults())] == [2, 4]


def test_empty_cells_behind_the_header_are_dropped_and_others_told(tmp_path: Path) -> None:
    (tmp_path / "r.tsv").write_text("a\tb\nx\ty\t\nx\ty\tz\n")
    faults = Faults()
    assert rows_of(tmp_path / "r.tsv", faults) == [["x", "y"]]
    assert faults.count == 1


def test_a_comma_in_the_header_settles_it(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text('a,b\n"x;y",1;2\n')
    assert rows_of(tmp_path / "r.csv") == [["x;y", "1;2"]]
    (tmp_path / "r.csv").write_text("a\nx;y\n")
    assert rows_of(tmp_path / "r.csv") == [["x;y"]]


def test_a_warning_names_the_first_row_that_both_readings_of_quotes_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.tsv").write_text('text\tid\n"He said ""stop"""\t1\nplain\t2\n')
    (tmp_path / "b.tsv").write_text('text\tid\nplain\t1\n"Stop"\t2\n"Go"\t3\n')
    for name in ("a.tsv", "b.tsv", "b.tsv"):
        cells = [row["text"] for _, row in open_table(tmp_path / name, Faults()).rows]
    assert cells == ["plain", "Stop", "Go"]
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [f"{tmp_path}/b.tsv:3"]
    assert "if they are part of the text" in caplog.text
