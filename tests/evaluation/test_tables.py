"""Shares, differences and the mean over tasks."""

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from matryoshka_text.evaluation.plan import Plan, PlannedTask
from matryoshka_text.evaluation.report import markdown, print_tables, write_report
from matryoshka_text.evaluation.subject import Subject
from matryoshka_text.evaluation.tables import tables
from matryoshka_text.rows import Row
from matryoshka_text.suite import Suite, TaskEntry

OURS = Subject("local/ours", "ours", Path("/m"), "folder", "a" * 64, 32, None)
THEIRS = Subject("org/theirs", "theirs", Path("/n"), "hub", "b" * 64, 16, None)
TASKS = tuple(PlannedTask(name, "STS", "cosine_spearman", None, None, "x@1", None) for name in ("one", "two"))
PLAN = Plan(Suite(name="x", tasks=(TaskEntry(task="one"), TaskEntry(task="two"))), TASKS, (OURS, THEIRS), (8, 32))


def row(subject: Subject, task: str, dim: int, score: float) -> Row:
    return Row(
        model=subject.name,
        weights=subject.weights,
        origin=subject.origin,
        task=task,
        type="STS",
        split="test",
        metric="cosine_spearman",
        dim=dim,
        width=subject.width,
        bytes_per_vector=4 * dim,
        score=score,
        normalize=True,
        versions={"mteb": "2"},
        data="x@1",
        date=datetime(2026, 1, 2, tzinfo=UTC),
    )


ROWS = [
    row(OURS, "one", 8, 60),
    row(OURS, "one", 32, 80),
    row(OURS, "two", 8, 30),
    row(OURS, "two", 32, 40),
    row(THEIRS, "one", 8, 50),
    row(THEIRS, "one", 16, 70),
    row(THEIRS, "two", 8, 31),
    row(THEIRS, "two", 16, 35),
]


def test_share_and_difference() -> None:
    one, two, mean = tables(PLAN, ROWS)
    assert (one.dims, one.share(8), one.share(32), one.share(16)) == ([8, 16, 32], 75, 100, None)
    assert (one.difference(8, 1), one.difference(16, 1), two.difference(8, 1)) == (10, None, -1)
    assert mean.scores == ({8: 45, 32: 60}, {8: 40.5, 16: 52.5})
    assert mean.share(8) == 75


def test_the_mean_is_over_the_tasks_every_model_has() -> None:
    some = [one for one in ROWS if not (one.model == THEIRS.name and one.task == "two")]
    mean = tables(PLAN, some)[-1]
    assert mean.scores == ({8: 60, 32: 80}, {8: 50, 16: 70})
    assert mean.note == "main scores x 100, over 1 of 2 tasks, without two"


def test_one_task_has_no_mean() -> None:
    assert [table.title for table in tables(PLAN, ROWS[:2])] == ["one"]


def test_no_share_of_a_score_below_zero() -> None:
    assert tables(PLAN, [row(OURS, "one", 8, 5), row(OURS, "one", 32, -1)])[0].share(8) is None


def test_text_and_markdown_say_the_same() -> None:
    table = tables(PLAN, ROWS)[0]
    assert markdown(table).splitlines()[4:] == [
        "| dim | bytes a vector | score | share of full width | theirs | difference |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        "| 8 | 32 | 60.00 | 75.0% | 50.00 | +10.00 |",
        "| 16 | 64 | - | - | 70.00 | - |",
        "| 32 | 128 | 80.00 | 100.0% | - | - |",
    ]
    text = io.StringIO()
    print_tables([table], Console(file=text, width=100))
    cells = ["8", "32", "60.00", "75.0%", "50.00", "+10.00"]
    assert cells in [line.split() for line in text.getvalue().splitlines()]


def test_the_report_is_three_files(tmp_path: Path) -> None:
    write_report(tmp_path, tables(PLAN, ROWS), PLAN, ROWS)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["curve.png", "results.md", "table.txt"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "results.md").read_text()
    assert "* theirs: org/theirs, hub, weights sha256 bbbbbbbbbbbbbbbb" in page
    assert "2026-01-02; prefixes brought back to length 1" in page
    assert page.count("### ") == 3


@pytest.mark.parametrize("count", [1, 4, 7, 13])
def test_any_number_of_panels(tmp_path: Path, count: int) -> None:
    from matryoshka_text.evaluation.plot import write_curve

    write_curve(tmp_path / "curve.png", tables(PLAN, ROWS)[:1] * count)
    assert (tmp_path / "curve.png").stat().st_size > 5000
