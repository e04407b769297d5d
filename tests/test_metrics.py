import json
import shutil
from pathlib import Path

import pytest

from matryoshka_text.errors import RunError
from matryoshka_text.metrics import MetricsFile


def test_lines_after_the_checkpoint_are_cut_away(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, keep=0)
    file.write({"step": 1})
    kept = file.sync()
    file.write({"step": 2})
    file.close()
    with path.open("ab") as out:
        out.write(b'{"step": 3, "lo')  # killed in the middle of a line
    again = MetricsFile(path, keep=kept)
    again.write({"step": 2, "again": True})
    again.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"step": 1}, {"step": 2, "again": True}]


def test_a_file_shorter_than_its_checkpoint_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(RunError, match=r"has 3 bytes, but the checkpoint was written after 100"):
        MetricsFile(tmp_path / "metrics.jsonl", keep=100)


def test_a_cut_within_a_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    MetricsFile(path, keep=12).close()
    with pytest.raises(RunError, match="no line ends after 5 bytes"):
        MetricsFile(path, keep=5)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_gone_is_no_success(tmp_path: Path, replaced: bool) -> None:
    (tmp_path / "run").mkdir()
    metrics = MetricsFile(tmp_path / "run" / "metrics.jsonl", keep=0)
    metrics.write({"step": 1})
    assert metrics.sync() > 0
    shutil.rmtree(tmp_path / "run")
    if replaced:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl: was removed or replaced while the run wrote to it"):
        metrics.sync()
    metrics.close()
