"""Rows: strict, appended as a whole, the later of two replaces the earlier."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from matryoshka_text.errors import DataError
from matryoshka_text.rows import Row, append_rows, latest_rows, read_rows


def row(**changes: Any) -> Row:
    values: dict[str, Any] = {
        "model": "local/one",
        "weights": "a" * 64,
        "origin": "folder",
        "task": "STSBenchmark",
        "type": "STS",
        "split": "test",
        "metric": "cosine_spearman",
        "dim": 12,
        "width": 32,
        "bytes_per_vector": 48,
        "score": 67.74,
        "normalize": True,
        "versions": {"mteb": "2.26.24"},
        "data": "b" * 64,
        "date": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return Row(**{**values, **changes})


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_rows(path, [row(), row(dim=24, bytes_per_vector=96)])
    append_rows(path, [row(score=70.0)])
    assert read_rows(path) == [row(), row(dim=24, bytes_per_vector=96), row(score=70.0)]
    assert {one.name for one in tmp_path.iterdir()} == {"rows.jsonl", ".rows.jsonl.lock"}


def test_the_latest_row_of_a_key_counts() -> None:
    old, other, new = row(), row(weights="c" * 64), row(score=70.0, date=datetime(2026, 2, 2, tzinfo=UTC))
    assert latest_rows([old, other, new]) == [new, other]


def test_further_metrics_are_kept_and_no_part_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with_more = row(further={"perplexity": 12.5})
    append_rows(path, [with_more])
    assert read_rows(path) == [with_more]
    assert with_more.key == row().key


def test_other_layers_are_another_row() -> None:
    assert latest_rows([row(), row(layers=6), row(layers=6, score=1.0)]) == [row(), row(layers=6, score=1.0)]


def test_rows_from_before_there_were_further_metrics(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(row().model_dump_json(exclude={"further", "layers"}) + "\n")
    assert read_rows(path) == [row()]
    assert row().further == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"score": float("nan")},
        {"further": {"perplexity": float("inf")}},
        {"dim": 0},
        {"dim": "12"},
        {"weights": "abc"},
        {"date": datetime(2026, 1, 2)},
    ],
)
def test_what_is_no_row(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        row(**changes)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(row().model_dump_json() + '\n{"model": 3}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: model: .*move the file away"):
        read_rows(path)


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none.jsonl") == []


def test_rows_and_suites_need_no_torch() -> None:
    code = (
        "import sys, matryoshka_text.rows, matryoshka_text.suite; print('torch' in sys.modules, 'mteb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
