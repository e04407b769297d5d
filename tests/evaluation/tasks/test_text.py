"""Texts are read line by line, and a file without any is named."""

import gzip
from pathlib import Path

import pytest

from matryoshka_text.bundled import bundled
from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.text import read_texts


def test_plain_and_gzip_are_read_alike(tmp_path: Path) -> None:
    lines = "  eins zwei \n\nüber\u2028drei\r\n \n"
    (tmp_path / "a.txt").write_bytes(lines.encode())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(lines.encode()))
    # A line separator inside a text is no end of a line.
    assert read_texts(tmp_path / "a.txt") == read_texts(tmp_path / "a.txt.gz") == ["eins zwei", "über\u2028drei"]


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.txt: holds no text; at least one line"):
        read_texts(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", b"\xff\xfe\x00"), ("a.txt.gz", b"plain"), ("a.txt.gz", gzip.compress(b"cat dog " * 99, mtime=0)[:-9])],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read \(.*\); allowed: UTF-8, one text a line, plain or gzip"):
        read_texts(tmp_path / name)


def test_the_bundled_texts_have_no_line_in_common() -> None:
    folder = bundled("recipes") / "data" / "text"
    train, held_out = ({line.lower() for line in read_texts(folder / f"{n}.txt.gz")} for n in ("train", "held_out"))
    assert (len(train), len(held_out)) == (21_067, 978)
    assert not train & held_out
    assert min(len(line.split()) for line in train | held_out) >= 8
