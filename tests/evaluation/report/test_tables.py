"""Shares, differences, draws, intervals and the means over tasks and types."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.plan import Plan, PlannedTask
from matryoshka_text.evaluation.report.tables import bands_of, tables, type_means
from matryoshka_text.evaluation.scoring.compare import Comparisons
from matryoshka_text.evaluation.scoring.items import Items, Part, items_path, write_items
from matryoshka_text.rows import Row
from matryoshka_text.suite import Suite, TaskEntry
from tests import builders

OURS = Subject("local/ours", "ours", Path("/m"), "folder", "a" * 64, 32, (8, 32))
THEIRS = Subject("org/theirs", "theirs", Path("/n"), "hub", "b" * 64, 16, None)


def plan(*types: str, subjects: tuple[Subject, ...] = (OURS, THEIRS), **suite: Any) -> Plan:
    names = ("one", "two", "three")[: len(types)]
    tasks = tuple(
        PlannedTask(name, kind, "cosine_spearman", "test", None, "x@1", None)
        for name, kind in zip(names, types, strict=True)
    )
    entries = tuple(TaskEntry(task=name) for name in names)
    reduced = subjects[1:2] if suite.get("baselines") else ()
    return Plan(Suite(name="x", tasks=entries, **suite), tasks, subjects, (8, 32), reduced)


PLAN = plan("STS", "STS")
SUITE = Suite(name="x", tasks=(TaskEntry(task="one"),))


def row(subject: Subject, task: str, dim: int, score: float, **changes: Any) -> Row:
    told = {"model": subject.name, "origin": subject.origin, "width": subject.width, **changes}
    return builders.row(subject.weights, task, dim, score, **told)


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


def test_a_dim_keeps_a_share_only_where_every_larger_one_does() -> None:
    scores = {4: 79.5, 8: 70, 12: 78, 16: 79.5, 24: 79.9, 32: 80}
    (one,) = tables(plan("STS"), [row(OURS, "one", dim, score) for dim, score in scores.items()])
    # 4 dims keep 99% too, but 8 and 12 do not.
    assert [one.kept(percent) for percent in (99, 95, 87, 99.9)] == [16, 12, 4, 32]
    fallen = [row(OURS, "one", dim, score) for dim, score in {8: 90, 16: -1, 32: 80}.items()]
    assert tables(plan("STS"), fallen)[0].kept(90) == 32


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


def test_differences_are_real_where_their_interval_does_not_hold_0(known: Callable[..., Any]) -> None:
    places = {"one": (("one", "test"),), "two": (("two", "test"),), "both": (("one", "test"), ("two", "test"))}
    intervals = {places["one"]: (4.0, 13.0), places["two"]: (-2.0, 0.5), places["both"]: (1.5, 7.5)}
    compare = known(lambda tasks, dim, column: intervals[tasks], lambda tasks, dim, column: (dim, dim + len(tasks)))
    one, two, mean = tables(PLAN, ROWS, compare)
    # The mean is one question about both tasks, and not made of their intervals.
    assert compare.asked == [(places[name], 8, 1) for name in ("one", "two", "both")]
    gaps = [gap for table in (one, two, mean) if (gap := table.gap(8, 1))]
    assert [gap.real for gap in gaps] == [True, False, True]
    assert gaps[2].interval == (1.5, 7.5)
    assert one.gap(32, 1) is None
    assert [mean.cells[column][dim].interval for column, dim in ((0, 8), (0, 32), (1, 16))] == [
        (8, 10), (32, 34), (16, 18)
    ]  # fmt: skip
    without = [table.gap(8, 1) for table in tables(PLAN, ROWS)]
    assert [gap and gap.real for gap in without] == [False] * 3


def test_a_mean_has_no_interval_where_none_is_known(known: Callable[..., Any]) -> None:
    mean = tables(PLAN, ROWS, known(lambda tasks, *_: (4.0, 13.0) if tasks == (("one", "test"),) else None))[-1]
    assert mean.intervals == {} and mean.cells[0][8].interval is None
    intervals = [one.model_copy(update={"interval": (1.0, 99.0)}) for one in ROWS]
    assert tables(PLAN, intervals)[-1].cells[0][8].interval is None


def test_means_over_types_ask_for_their_own_tasks(known: Callable[..., Any]) -> None:
    planned = plan("STS", "Retrieval", "STS")
    rows = [row(one, name, 8, 10.0) for name in ("one", "two", "three") for one in (OURS, THEIRS)]
    compare = known(lambda tasks, *_: (1.0, float(len(tasks))))
    found = tables(planned, rows, compare)
    assert found[-1].intervals == {(8, 1): (1, 3)}
    sts, retrieval = type_means(found)
    assert sts.intervals == {(8, 1): (1, 2)} and sts.places == (("one", "test"), ("three", "test"))
    assert retrieval.intervals == {(8, 1): (1, 1)}


def test_the_mean_says_what_the_paired_bootstrap_says(tmp_path: Path) -> None:
    """Two tasks of different sizes, real items on disk: the table's interval is that of all items drawn at once."""
    rng, rows, values = np.random.default_rng(0), [], {}
    for task, count in (("one", 30), ("two", 70)):
        for subject, shift in ((OURS, 0.05), (THEIRS, 0.0)):
            values[task, subject.name] = rng.random(count) + shift
            items = Items((Part("mean", values[task, subject.name][None, :], f"{count:016x}" * 4),))
            rows.append(row(subject, task, 8, 100 * items.score()))
            write_items(items_path(tmp_path, rows[-1]), items)
    mean = tables(PLAN, rows, Comparisons(tmp_path, PLAN, rows))[-1]
    drawn = {
        task: np.random.default_rng([0, count]).integers(0, count, size=(1000, count), dtype=np.int32)
        for task, count in (("one", 30), ("two", 70))
    }
    ours, theirs = (
        [fmean(100 * values[task, one.name][drawn[task][n]].mean() for task in drawn) for n in range(1000)]
        for one in (OURS, THEIRS)
    )
    expected = np.percentile(np.subtract(ours, theirs), [2.5, 97.5])
    assert mean.intervals[8, 1] == pytest.approx(tuple(expected))
    assert mean.cells[0][8].interval == pytest.approx(tuple(np.percentile(ours, [2.5, 97.5])))


class OfMteb:
    """A task class that scores its splits a and b; the data have c too."""

    def filter_eval_splits(self, splits: list[str] | None) -> "OfMteb":
        self.eval_splits = splits or ["a", "b"]
        return self


def test_each_split_occurs_once() -> None:
    named = [PlannedTask("one", "STS", "cosine_spearman", split, None, "x@1", OfMteb) for split in ("b", None, "c")]
    planned = Plan(SUITE, tuple(named), (OURS,), (8, 32))
    rows = [row(OURS, "one", 8, score, split=split) for split, score in (("a", 10), ("b", 20), ("c", 60), ("d", 99))]
    found = tables(planned, rows)
    assert [table.title for table in found] == ["one (b)", "one (a)", "one (c)", "Mean"]
    assert found[-1].scores[0] == {8: 30}
    (alone,) = tables(Plan(SUITE, tuple(named[1:2]), (OURS,), (8, 32)), rows[1:])
    assert alone.title == "one (b)"


def test_the_head_of_sizes_says_the_precision_where_there_are_others() -> None:
    assert tables(PLAN, ROWS)[0].size_head == "bytes a vector"
    planned = plan("STS", precisions=("float32", "binary"))
    assert tables(planned, ROWS)[0].size_head == "bytes in float32"


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
    assert [table.title for table in found[3:]] == ["Mean", "Mean over kinds"]
    assert found[3].scores[0][8] == pytest.approx(fmean([18, 28, 48]))
    assert found[4].scores[0][8] == pytest.approx(fmean([fmean([18, 48]), 28]))
    assert type_means(tables(PLAN, ROWS)) == []
