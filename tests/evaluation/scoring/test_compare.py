"""The paired interval of two columns, from the items beside an evaluation's results."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.plan import Plan, PlannedTask
from matryoshka_text.evaluation.scoring.bootstrap import difference, resampled
from matryoshka_text.evaluation.scoring.compare import Comparisons
from matryoshka_text.evaluation.scoring.items import Items, Part, items_path, write_items
from matryoshka_text.rows import Row
from matryoshka_text.suite import Suite, TaskEntry
from tests import builders

OURS = Subject("local/ours", "ours", Path("/m"), "folder", "a" * 64, 32, None)
THEIRS = Subject("org/theirs", "theirs", Path("/n"), "hub", "b" * 64, 32, None)
SMALL = Subject("local/ours-ff-8", "ff-8", Path("/f"), "folder", "c" * 64, 32, None, only=8)
TASKS = tuple(PlannedTask(name, "STS", "cosine_spearman", None, None, "x@1", None) for name in ("one", "two"))
SUITE = Suite(name="x", tasks=(TaskEntry(task="one"), TaskEntry(task="two")), baselines=("random",), seed=5)
PLAN = Plan(SUITE, TASKS, (OURS, THEIRS, SMALL), (8, 32), reduced=(THEIRS,))
WIDE = {"ours": 1.0, "theirs": 2.0}
LABELS = [column.label for column in PLAN.columns]


def items(scale: float, seed: int = 0, n: int = 60) -> Items:
    """Fewer digits of noise, better scores; the gold scores are those of `n` pairs."""
    gold = np.arange(n) % 7.0
    values = gold + scale * np.random.default_rng(seed).normal(size=n)
    return Items((Part("spearman", values[None, :], f"{n:064x}", gold),))


def row(subject: Subject, dim: int, found: Items | None, **changes: Any) -> Row:
    score = 50.0 if found is None else 100 * found.score()
    told = {"model": subject.name, "origin": subject.origin, "task": "one", "width": 32, "data": "x@1", **changes}
    told = {"date": datetime(2026, 1, 2, tzinfo=UTC), **told}
    return builders.row(subject.weights, told.pop("task"), dim, score, **told)


def kept(out: Path, subject: Subject, dim: int, found: Items, **changes: Any) -> Row:
    one = row(subject, dim, found, **changes)
    write_items(items_path(out, one), found)
    return one


def test_the_columns_are_those_of_the_plan() -> None:
    assert LABELS == ["ours", "theirs", "FF", "theirs random"]


def test_the_interval_is_the_paired_one(tmp_path: Path) -> None:
    ours, theirs, small = items(1.0), items(3.0, 1), items(1.1, 2)
    rows = [kept(tmp_path, OURS, 8, ours), kept(tmp_path, THEIRS, 8, theirs), kept(tmp_path, SMALL, 8, small)]
    compare = Comparisons(tmp_path, PLAN, rows)
    assert compare("one", "test", 8, 1) == difference(ours, theirs, seed=5)
    assert compare("one", "test", 8, 2) == difference(ours, small, seed=5)
    low, high = compare("one", "test", 8, 1) or (0, 0)
    assert low < 100 * (ours.score() - theirs.score()) < high
    assert low > 0  # real
    near = compare("one", "test", 8, 2) or (0, 0)
    assert near[0] < 0 < near[1]  # not told apart


def test_a_drawn_baseline_is_the_mean_of_its_seeds(tmp_path: Path) -> None:
    ours, draws = items(1.0), [items(2.0, seed) for seed in (1, 2, 3)]
    rows = [kept(tmp_path, OURS, 8, ours)]
    rows += [kept(tmp_path, THEIRS, 8, one, method="random", seed=seed) for seed, one in enumerate(draws)]
    assert Comparisons(tmp_path, PLAN, rows)("one", "test", 8, 3) == difference(ours, draws, seed=5)


def test_draws_are_drawn_again_and_alike_on_every_task(tmp_path: Path) -> None:
    """One draw is far from the others, the same on both tasks: the more draws are left to chance, the wider."""
    ours = items(1.0)
    draws = [items(scale, seed) for seed, scale in enumerate((2.0, 2.0, 6.0), start=1)]
    rows = []
    for task in ("one", "two"):
        rows.append(kept(tmp_path, OURS, 8, ours, task=task))
        made = [kept(tmp_path, THEIRS, 8, one, task=task, method="random", seed=seed) for seed, one in enumerate(draws)]
        # The order of rows plays no part.
        rows += made if task == "one" else made[::-1]
    compare = Comparisons(tmp_path, PLAN, rows)
    alone, both = compare("one", "test", 8, 3), compare.mean([("one", "test"), ("two", "test")], 8, 3)
    assert alone is not None and both == pytest.approx(alone)
    fixed = np.mean([resampled(one, seed=5) for one in draws], axis=0)
    low, high = np.percentile(resampled(ours, seed=5) - fixed, [2.5, 97.5])
    assert alone[1] - alone[0] > 2 * (high - low)


def test_the_mean_score_of_a_column(tmp_path: Path) -> None:
    found = {(task, name): items(scale, n, n) for task, n in (("one", 60), ("two", 80)) for name, scale in WIDE.items()}
    rows = [
        kept(tmp_path, subject, 8, found[task, subject.label], task=task)
        for task in ("one", "two")
        for subject in (OURS, THEIRS)
    ]
    rows += [kept(tmp_path, THEIRS, 8, items(2.0), method="random", seed=seed) for seed in (0, 1)]
    compare = Comparisons(tmp_path, PLAN, rows)
    for column, name in enumerate(WIDE):
        both = np.mean([resampled(found[task, name], seed=5) for task in ("one", "two")], axis=0)
        expected = pytest.approx(tuple(np.percentile(both, [2.5, 97.5])))
        assert compare.score([("one", "test"), ("two", "test")], 8, column) == expected
    assert compare.score([("one", "test"), ("three", "test")], 8, 0) is None
    assert compare.score([("one", "test")], 8, 3) is None  # several draws
    assert compare.score([], 8, 0) is None


def test_the_mean_over_tasks(tmp_path: Path) -> None:
    rows = [
        kept(tmp_path, subject, 8, items(scale, seed, n), task=task)
        for task, n in (("one", 60), ("two", 80))
        for seed, (subject, scale) in enumerate(((OURS, 1.0), (THEIRS, 2.0)))
    ]
    compare = Comparisons(tmp_path, PLAN, rows)
    both = compare.mean([("one", "test"), ("two", "test")], 8, 1)
    each = [compare(task, "test", 8, 1) for task in ("one", "two")]
    assert both is not None and None not in each
    centre = [sum(one) / 2 for one in each if one is not None]
    assert sum(both) / 2 == pytest.approx(sum(centre) / 2, abs=1)
    assert both[1] - both[0] < min(one[1] - one[0] for one in each if one is not None)
    assert compare.mean([("one", "test"), ("three", "test")], 8, 1) is None
    assert compare.mean([], 8, 1) is None


def test_none_where_items_are_missing(tmp_path: Path) -> None:
    rows = [kept(tmp_path, OURS, 8, items(1.0)), row(THEIRS, 8, items(2.0))]
    compare = Comparisons(tmp_path, PLAN, rows)
    assert compare("one", "test", 8, 1) is None
    assert compare("one", "test", 8, 3) is None  # no such row
    assert compare("one", "test", 16, 1) is None
    assert compare("one", "validation", 8, 1) is None


def test_none_where_one_of_several_seeds_has_no_items(tmp_path: Path) -> None:
    rows = [kept(tmp_path, OURS, 8, items(1.0))]
    rows += [kept(tmp_path, THEIRS, 8, items(2.0, 1), method="random", seed=0)]
    rows += [row(THEIRS, 8, items(2.0, 2), method="random", seed=1)]
    assert Comparisons(tmp_path, PLAN, rows)("one", "test", 8, 3) is None


def test_none_where_the_items_are_others(tmp_path: Path) -> None:
    rows = [kept(tmp_path, OURS, 8, items(1.0)), kept(tmp_path, THEIRS, 8, items(2.0, n=61))]
    assert Comparisons(tmp_path, PLAN, rows)("one", "test", 8, 1) is None


def test_items_of_another_scoring_are_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = kept(tmp_path, OURS, 8, items(1.0))
    rows = [first.model_copy(update={"score": first.score + 0.01}), kept(tmp_path, THEIRS, 8, items(2.0))]
    with caplog.at_level(logging.WARNING):
        assert Comparisons(tmp_path, PLAN, rows)("one", "test", 8, 1) is None
    assert "its items give" in caplog.text


def test_a_damaged_file_is_told_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [kept(tmp_path, OURS, 8, items(1.0)), kept(tmp_path, THEIRS, 8, items(2.0))]
    items_path(tmp_path, rows[1]).write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert Comparisons(tmp_path, PLAN, rows)("one", "test", 8, 1) is None
    assert "holds no items" in caplog.text


def test_each_file_is_read_once_and_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matryoshka_text.evaluation.scoring import compare as module

    rows = [
        kept(tmp_path, OURS, 8, items(1.0)),
        kept(tmp_path, THEIRS, 8, items(2.0)),
        kept(tmp_path, SMALL, 8, items(3.0)),
    ]
    read: list[Path] = []
    original = module.read_items
    monkeypatch.setattr(module, "read_items", lambda path: (read.append(path), original(path))[1])
    compare = Comparisons(tmp_path, PLAN, rows)
    assert read == []
    for column in (1, 2, 1, 2):
        assert compare("one", "test", 8, column) is not None
    assert sorted(read) == sorted(items_path(tmp_path, one) for one in rows)


def test_a_later_row_takes_the_place_of_an_earlier(tmp_path: Path) -> None:
    old, new, theirs = items(3.0), items(1.0), items(2.0)
    rows = [row(OURS, 8, old), kept(tmp_path, OURS, 8, new), kept(tmp_path, THEIRS, 8, theirs)]
    assert Comparisons(tmp_path, PLAN, rows)("one", "test", 8, 1) == difference(new, theirs, seed=5)
