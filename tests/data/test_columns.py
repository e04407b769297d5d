"""Examples in columns: what is kept of large files, and when it is used again."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from matryoshka_text.data import columns, read_source, sources
from matryoshka_text.data.columns import Example, columns_in, mapped, table_of
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import Source


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that everything goes to, as if every file were large."""
    monkeypatch.setenv("MTEXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(columns, "_IN_MEMORY", 0)
    return tmp_path / "cache" / "sources"


def write(path: Path, rows: int, text: str = "text") -> None:
    lines = [json.dumps({"anchor": f"{text} {i}", "positive": f"It\u00e9m {i % 7}", "other": i}) for i in range(rows)]
    path.write_text("\n".join(lines) + "\n")


def source(path: Path, **settings: object) -> Source:
    return Source.model_validate({"name": "s", "file": str(path), "kind": "pairs", **settings})


def test_texts_lengths_and_keys() -> None:
    (column,) = columns_in(
        table_of(Example(n, (text,)) for n, text in enumerate(["A caf\u00e9", "a  CAF\u00c9 ", "b"]))
    )
    assert list(column) == [column[0], column[1], "b"] == ["A caf\u00e9", "a  CAF\u00c9 ", "b"]
    assert column[1:] == ["a  CAF\u00c9 ", "b"] and len(column) == 3
    assert column.lengths.tolist() == [6, 8, 1]
    assert column.keys[0] == column.keys[1] != column.keys[2]


def test_a_large_file_is_read_once_and_mapped_from_then_on(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.jsonl", 20_000)
    first = read_source(source(tmp_path / "a.jsonl"), tmp_path)
    monkeypatch.setattr(sources, "open_section", lambda *given, **named: pytest.fail("the file is read again"))
    before = pa.total_allocated_bytes()
    again = read_source(source(tmp_path / "a.jsonl", name="another"), tmp_path)
    assert pa.total_allocated_bytes() - before < 100_000
    assert list(again.texts()) == list(first.texts()) and again.label == first.label
    assert len(list(cache.glob("*.arrow"))) == 1
    sample = read_source(source(tmp_path / "a.jsonl", rows=5), tmp_path, seed=3)
    monkeypatch.undo()
    assert list(sample.texts()) == list(read_source(source(tmp_path / "a.jsonl", rows=5), tmp_path, seed=3).texts())


def test_what_is_kept_depends_on_content_and_columns(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "a.jsonl", 3)
    read_source(source(tmp_path / "a.jsonl"), tmp_path)
    turned = source(tmp_path / "a.jsonl", columns={"anchor": "positive", "positive": "anchor"})
    assert read_source(turned, tmp_path).columns[1][0] == "text 0"
    write(tmp_path / "a.jsonl", 3, text="other")
    assert read_source(source(tmp_path / "a.jsonl"), tmp_path).columns[0][0] == "other 0"
    assert len(list(cache.glob("*.arrow"))) == 3


def test_a_damaged_copy_is_made_anew_and_a_wrong_file_is_never_kept(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "a.jsonl", 3)
    read_source(source(tmp_path / "a.jsonl"), tmp_path)
    (kept,) = cache.glob("*.arrow")
    kept.write_bytes(kept.read_bytes()[:100])
    assert mapped(kept) is None
    assert len(read_source(source(tmp_path / "a.jsonl"), tmp_path)) == 3
    kept.unlink()
    with (tmp_path / "a.jsonl").open("a") as out:
        out.write('{"anchor": 5, "positive": "x"}\n')
    for _ in range(2):
        with pytest.raises(DataError, match="jsonl:4: anchor"):
            read_source(source(tmp_path / "a.jsonl"), tmp_path)
    assert not [file for file in cache.iterdir() if file.suffix != ".lock"]
