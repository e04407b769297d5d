"""The mean over kinds of task, and columns that some kinds of task cannot have."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from matryoshka_text.evaluation.report.table import Cell, Table
from matryoshka_text.evaluation.report.tables import KINDS, kind_mean, task_mean, type_means
from matryoshka_text.evaluation.scoring.compare import Resamples
from matryoshka_text.evaluation.scoring.items import Items, Part, items_path, write_items

TYPES = ("STS", "STS", "STS", "Retrieval", "Clustering", "Clustering")


def made(types: tuple[str, ...] = TYPES, columns: int = 2, **changes: Any) -> list[Table]:
    """A table a task, with scores at 4 and 8 dims that no two cells share."""
    rng = np.random.default_rng(0)
    found = []
    for number, kind in enumerate(types):
        cells = tuple({dim: Cell((100 * rng.random(),)) for dim in (4, 8)} for _ in range(columns))
        labels = tuple("abc"[:columns])
        places = ((f"t{number}", "test"),)
        found.append(Table(f"t{number}", "", labels, (8,) * columns, cells, True, f"t{number}", kind, places=places))
    return [replace(one, **changes) for one in found]


def by_loop(found: list[Table], column: int, dim: int) -> float:
    by_kind: dict[str, list[float]] = {}
    for table in found:
        by_kind.setdefault(table.type, []).append(table.scores[column][dim])
    return sum(sum(scores) / len(scores) for scores in by_kind.values()) / len(by_kind)


def test_every_kind_counts_once() -> None:
    found = made()
    (mean,) = kind_mean(found)
    assert (mean.title, mean.task, mean.type) == (KINDS, "", "")
    for column in (0, 1):
        for dim in (4, 8):
            assert mean.scores[column][dim] == pytest.approx(by_loop(found, column, dim))
            assert mean.scores[column][dim] != pytest.approx(fmean(one.scores[column][dim] for one in found))
    assert mean.note == "main scores x 100, over 6 of 6 tasks of 3 kinds, each kind counting once"
    assert mean.weights == pytest.approx((1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 6, 1 / 6))


@pytest.mark.parametrize("types", [("STS",) * 3, ("STS", "Retrieval"), ("STS", "STS", "Retrieval", "Retrieval"), ()])
def test_it_is_not_shown_where_it_is_the_mean_over_tasks(types: tuple[str, ...]) -> None:
    assert kind_mean(made(types)) == []


def test_a_task_that_a_column_lacks_is_out_of_it_for_all() -> None:
    found = made()
    found[0] = replace(found[0], cells=(found[0].cells[0], {}))
    (mean,) = kind_mean(found)
    assert mean.scores[0][4] == pytest.approx(by_loop(found[1:], 0, 4))
    assert mean.note.endswith("over 5 of 6 tasks of 3 kinds, each kind counting once, without t0")


def test_draws_are_weighted_one_by_one() -> None:
    found = made(("STS", "STS", "Retrieval"), columns=1)
    draws = [(10.0, 20.0), (30.0, 60.0), (1.0, 5.0)]
    found = [replace(one, cells=({4: Cell(own)},)) for one, own in zip(found, draws, strict=True)]
    (mean,) = kind_mean(found)
    assert mean.cells[0][4].draws == pytest.approx((((10 + 30) / 2 + 1) / 2, ((20 + 60) / 2 + 5) / 2))


def test_intervals_are_asked_for_with_the_weights(known: Callable[..., Any]) -> None:
    compare = known(lambda *_: (1.0, 2.0), lambda *_: (3.0, 4.0))
    (mean,) = kind_mean(made(compare=compare))
    assert mean.intervals == {(4, 1): (1, 2), (8, 1): (1, 2)}
    assert compare.weights == [mean.weights] * 2 and mean.cells[1][4].interval == (3, 4)


def test_the_paired_interval_is_that_of_the_weighted_mean(tmp_path: Path, row: Callable[..., Any]) -> None:
    rng, pairs, values = np.random.default_rng(3), [], []
    for task, count in (("one", 20), ("two", 30), ("three", 40)):
        sides = []
        for weights, shift in (("a" * 64, 0.1), ("b" * 64, 0.0)):
            own = rng.random(count) + shift
            items = Items((Part("mean", own[None, :], f"{count:016x}" * 4),))
            sides.append(row(weights, task, 100 * items.score()))
            write_items(items_path(tmp_path, sides[-1]), items)
            values.append(own)
        pairs.append(([sides[0]], [sides[1]]))
    shares = (0.25, 0.25, 0.5)
    found = Resamples(tmp_path, seed=0).mean_difference(pairs, shares)
    gaps = np.zeros(1000)
    for number, (share, count) in enumerate(zip(shares, (20, 30, 40), strict=True)):
        drawn = np.random.default_rng([0, count]).integers(0, count, size=(1000, count), dtype=np.int32)
        ours, theirs = values[2 * number], values[2 * number + 1]
        gaps += [share * 100 * (ours[one].mean() - theirs[one].mean()) for one in drawn]
    assert found == pytest.approx(tuple(np.percentile(gaps, [2.5, 97.5])))


def test_a_column_fitted_on_the_corpus_has_means_of_its_kinds_alone() -> None:
    found = made(columns=3, corpus=frozenset({2}))
    found = [one if one.has_corpus else replace(one, cells=(*one.cells[:2], {})) for one in found]
    for mean in (*task_mean(found), *kind_mean(found)):
        assert mean.cells[2] == {} and mean.cells[0] and "over 6 of 6 tasks" in mean.note
        assert mean.note.endswith("; none of c: some kinds of task have no corpus")
    sts, retrieval, clustering = type_means(found)
    assert sts.cells[2] == {}
    assert retrieval.scores[2][4] == found[3].scores[2][4]
    assert clustering.scores[2][4] == pytest.approx(fmean(one.scores[2][4] for one in found[4:]))
    assert "none of c" not in clustering.note


def test_where_every_task_has_a_corpus_it_is_a_column_like_any_other() -> None:
    found = made(("Retrieval", "Retrieval", "Clustering"), columns=3, corpus=frozenset({2}))
    (mean,) = task_mean(found)
    assert mean.scores[2][4] == pytest.approx(fmean(one.scores[2][4] for one in found))


def test_a_corpus_too_small_for_it_takes_the_task_from_all_columns_of_its_kind_and_says_so() -> None:
    found = made(("Retrieval", "Retrieval", "STS"), columns=3, corpus=frozenset({2}))
    found = [replace(one, cells=(*one.cells[:2], {})) if one.task != "t0" else one for one in found]
    retrieval = type_means(found)[0]
    assert retrieval.scores[0][4] == found[0].scores[0][4] and retrieval.note.endswith("over 1 of 2 tasks, without t1")
    assert task_mean(found)[0].scores[0][4] == pytest.approx(fmean(one.scores[0][4] for one in found))
