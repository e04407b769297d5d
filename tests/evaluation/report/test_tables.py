"""Shares, differences, draws, intervals and the means over tasks and types."""

import math
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from matryoshka_text.evaluation.plan import Plan, PlannedTask
from matryoshka_text.evaluation.report.tables import bands_of, tables, type_means
from matryoshka_text.evaluation.subject import Subject
from matryoshka_text.rows import Row
from matryoshka_text.suite import Suite, TaskEntry

OURS = Subject("local/ours", "ours", Path("/m"), "folder", "a" * 64, 32, (8, 32))
THEIRS = Subject("org/theirs", "theirs", Path("/n"), "hub", "b" * 64, 16, None)


def plan(*types: str, subjects: tuple[Subject, ...] = (OURS, THEIRS), **suite: Any) -> Plan:
    names = ("one", "two", "three")[: len(types)]
    tasks = tuple(
        PlannedTask(name, kind, "cosine_spearman", None, None, "x@1", None)
        for name, kind in zip(names, types, strict=True)
    )
    entries = tuple(TaskEntry(task=name) for name in names)
    reduced = subjects[1:2] if suite.get("baselines") else ()
    return Plan(Suite(name="x", tasks=entries, **suite), tasks, subjects, (8, 32), reduced)


PLAN = plan("STS", "STS")


def row(subject: Subject, task: str, dim: int, score: float, **changes: Any) -> Row:
    values: dict[str, Any] = {
        "model": subject.name,
        "weights": subject.weights,
        "origin": subject.origin,
        "task": task,
        "type": "STS",
        "split": "test",
        "metric": "cosine_spearman",
        "dim": dim,
        "width": subject.width,
        "bytes_per_vector": 4 * dim,
        "score": score,
        "normalize": True,
        "versions": {"mteb": "2"},
        "data": "x@1",
        "date": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return Row(**(values | changes))


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
    assert (one.task, one.type, mean.task, mean.type) == ("one", "STS", "", "")


def test_the_smallest_dim_that_keeps_a_share() -> None:
    one = tables(PLAN, ROWS)[0]
    assert [one.kept(percent) for percent in (99, 76, 75, 10)] == [32, 32, 8, 8]
    assert tables(PLAN, [row(OURS, "one", 8, 60)])[0].kept(50) is None


def test_dims_that_were_not_trained() -> None:
    more = [*ROWS, row(OURS, "one", 24, 70)]
    one = tables(PLAN, more)[0]
    assert [dim for dim in (8, 16, 24, 32) if one.interpolated(dim)] == [16, 24]
    untrained = plan("STS", "STS", subjects=(THEIRS, OURS))
    assert not any(tables(untrained, more)[0].interpolated(dim) for dim in (8, 16, 24))


def test_the_mean_is_over_the_tasks_every_column_has() -> None:
    some = [one for one in ROWS if not (one.model == THEIRS.name and one.task == "two")]
    mean = tables(PLAN, some)[-1]
    assert mean.scores == ({8: 60, 32: 80}, {8: 50, 16: 70})
    assert mean.note == "main scores x 100, over 1 of 2 tasks, without two"


def test_a_model_without_any_score_takes_no_task_away() -> None:
    mean = tables(PLAN, [one for one in ROWS if one.model == OURS.name])[-1]
    assert mean.scores == ({8: 45, 32: 60}, {})
    assert mean.note == "main scores x 100, over 2 of 2 tasks"


def test_one_task_has_no_mean() -> None:
    assert [table.title for table in tables(PLAN, ROWS[:2])] == ["one"]


def test_no_share_of_a_score_below_zero() -> None:
    assert tables(PLAN, [row(OURS, "one", 8, 5), row(OURS, "one", 32, -1)])[0].share(8) is None


def test_the_later_of_two_rows_of_one_thing_counts() -> None:
    assert tables(PLAN, [*ROWS, row(OURS, "one", 8, 61)])[0].scores[0][8] == 61


def test_draws_have_a_mean_and_a_spread_and_so_has_their_mean_over_tasks() -> None:
    drawn = [
        row(THEIRS, task, 8, base + shift, method="random", seed=seed)
        for task, base in (("one", 40.0), ("two", 20.0))
        for seed, shift in enumerate((0.0, 1.0, 5.0))
    ]
    found = tables(plan("STS", "STS", baselines=("random",)), [*ROWS, *drawn])
    assert found[0].labels == ("ours", "theirs", "theirs random")
    assert found[0].scores[2] == {8: 42}
    assert (found[0].cells[2][8].spread, found[0].cells[0][8].spread) == (5, None)
    assert (found[2].scores[2], found[2].cells[2][8].spread) == ({8: 32}, 5)
    assert found[0].cells[2][8].band == (40, 45)
    assert found[0].difference(8, 2) == 18


def test_precisions_and_layers_have_columns_of_their_own() -> None:
    first = Subject(OURS.name, "ours-layers-2", OURS.path, "folder", OURS.weights, 32, OURS.dims, None, 2)
    planned = plan("STS", subjects=(OURS, first), precisions=("float32", "int8"))
    rows = [
        row(OURS, "one", 8, 60, interval=(59.0, 61.5)),
        row(OURS, "one", 8, 58, precision="int8", bytes_per_vector=8),
        row(OURS, "one", 8, 50, layers=2),
        row(OURS, "one", 8, 48, layers=2, precision="int8", bytes_per_vector=8),
    ]
    (table,) = tables(planned, rows)
    assert table.labels == ("ours", "ours-layers-2", "ours int8", "ours-layers-2 int8")
    assert table.scores == ({8: 60}, {8: 50}, {8: 58}, {8: 48})
    assert [table.bytes_of(8, column) for column in range(4)] == [32, 32, 8, 8]
    assert (table.cells[0][8].interval, table.cells[1][8].interval) == ((59, 61.5), None)
    assert bands_of(table) == {0}


def test_differences_are_real_where_their_interval_does_not_hold_0() -> None:
    asked = []

    def compare(task: str, split: str, dim: int, column: int) -> tuple[float, float] | None:
        asked.append((task, split, dim, column))
        return {"one": (4.0, 13.0), "two": (-2.0, 0.5)}[task]

    one, two, mean = tables(PLAN, ROWS, compare)
    assert asked == [("one", "test", 8, 1), ("two", "test", 8, 1)]
    gaps = [table.gap(8, 1) for table in (one, two, mean)]
    assert [gap.real for gap in gaps if gap] == [True, False, True]
    assert one.gap(32, 1) is None
    assert not any(gap.real for table in tables(PLAN, ROWS) if (gap := table.gap(8, 1)))
    # Independent estimates: distances to the ends add up like standard deviations.
    below, above = math.sqrt((10 - 4) ** 2 + (-1 + 2) ** 2) / 2, math.sqrt((13 - 10) ** 2 + (0.5 + 1) ** 2) / 2
    assert gaps[2] is not None and gaps[2].interval == pytest.approx((4.5 - below, 4.5 + above))


def test_a_mean_has_no_interval_where_a_task_has_none() -> None:
    mean = tables(PLAN, ROWS, lambda task, split, dim, column: (4.0, 13.0) if task == "one" else None)[-1]
    assert mean.intervals == {}


def test_means_over_types_and_none_where_there_is_one_type() -> None:
    planned = plan("STS", "Retrieval", "STS")
    rows = [
        row(OURS, name, dim, score + dim)
        for name, score in (("one", 10.0), ("two", 20.0), ("three", 40.0))
        for dim in (8, 32)
    ]
    found = tables(planned, rows)
    sts, retrieval = type_means(found)
    assert (sts.title, sts.type, sts.task, retrieval.title) == ("STS", "STS", "", "Retrieval")
    assert sts.scores[0] == {8: 33, 32: 57}
    assert found[-1].scores[0][8] == pytest.approx(fmean([18, 28, 48]))
    assert type_means(tables(PLAN, ROWS)) == []
