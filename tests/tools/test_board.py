"""Means and spreads over the rows of a column."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from matryoshka_text.rows import Row
from tests import builders
from tools.pages.board import Board, Score
from tools.pages.records import Baselines, Compared

BASE, ONE, TWO = "a" * 64, "b" * 64, "c" * 64
UNTOUCHED, TRAINED = Compared(label="untouched", weights=(BASE,)), Compared(label="trained", weights=(ONE, TWO))
ABOUT = Baselines(title="x", commit="x", command="x", note="x", columns=(UNTOUCHED, TRAINED))


def row(weights: str, task: str, score: float, dim: int = 4, **changes: Any) -> Row:
    return builders.row(weights, task, dim, score, **changes)


def board(*rows: Row) -> Board:
    return Board(ABOUT, rows)


def test_one_row_has_its_interval_and_several_have_a_spread() -> None:
    made = board(row(BASE, "t", 50, interval=(48, 51)), row(ONE, "t", 60, interval=(1, 2)), row(TWO, "t", 63))
    (sheet,) = made.tasks()
    assert made.score(UNTOUCHED, sheet, 4) == Score(50, interval=(48, 51))
    assert made.score(TRAINED, sheet, 4) == Score(61.5, spread=3)
    assert made.difference(TRAINED, sheet, 4) == 11.5
    assert made.score(TRAINED, sheet, 8) is None
    assert made.difference(TRAINED, sheet, 8) is None
    assert made.means() == []


def test_one_seed_of_several_has_no_spread_and_no_interval_unless_it_has_one() -> None:
    made = board(row(BASE, "t", 50), row(ONE, "t", 60))
    assert made.score(TRAINED, made.tasks()[0], 4) == Score(60)


def test_the_spread_of_a_mean_is_that_of_the_seeds_with_every_task() -> None:
    rows = [row(BASE, task, 50) for task in ("t", "u")]
    made = board(*rows, row(ONE, "t", 60), row(TWO, "t", 64), row(ONE, "u", 70), row(TWO, "u", 68))
    sheet = made.means()[0]
    assert sheet.title == "All 2 tasks"
    assert made.score(TRAINED, sheet, 4) == Score(65.5, spread=1)
    lacking = board(*rows, row(ONE, "t", 60), row(TWO, "t", 64), row(ONE, "u", 70))
    assert lacking.score(TRAINED, lacking.means()[0], 4) == Score(66)


def test_the_latest_row_counts_even_if_it_is_of_other_data() -> None:
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    rows = [row(BASE, "t", 50, date=days[0]), row(BASE, "t", 51, data="y", date=days[1])]
    for more, expected in (([], 51), ([row(BASE, "t", 52, date=days[2])], 52)):
        made = board(*rows, *more, row(ONE, "t", 1))
        assert made.score(UNTOUCHED, made.tasks()[0], 4) == Score(expected)


def test_dims_are_those_of_the_columns_alone() -> None:
    assert board(row(BASE, "t", 1, dim=8), row(ONE, "t", 1, dim=2), row("d" * 64, "t", 1, dim=3)).dims == [2, 8]


def test_types_in_the_order_of_the_rows_those_of_one_task_too() -> None:
    sorting = {"type": "Classification", "metric": "accuracy"}
    tasks: list[tuple[str, dict[str, Any]]] = [("sort", sorting), ("t", {}), ("u", {"metric": "max_ap"}), ("v", {})]
    rows = [
        row(weights, task, 50, **more)
        for task, more in tasks
        for weights in (BASE, ONE)
        if (weights, task) != (ONE, "v")
    ]
    made = board(*rows)
    assert [(one.type, one.title, one.metric) for one in made.of_types()] == [
        ("Classification", "sort", "accuracy"),
        ("STS", "STS, 2 tasks", "cosine_spearman, max_ap"),
    ]
    assert [one.title for one in made.means()] == ["All 3 tasks", "Mean over 2 kinds, 3 tasks", "STS, 2 tasks"]
    assert [one.title for one in made.sheets()][3:] == ["sort", "t", "u", "v"]
    assert board(*(one for one in rows if one.type == "STS")).of_types() == []


def test_the_full_width_is_that_of_the_first_column() -> None:
    assert board(row(BASE, "t", 1, width=8), row(ONE, "t", 1, width=16)).width == 8
    assert board(row(ONE, "t", 1, width=16)).width == 0


def test_the_fewest_seeds_of_a_score_count() -> None:
    made = board(row(ONE, "t", 1), row(TWO, "t", 1), row(ONE, "u", 1), row(ONE, "u", 1, dim=8), row(TWO, "u", 1, dim=8))
    first, second = made.tasks()
    assert (made.seeds(TRAINED, first), made.seeds(TRAINED, second), made.seeds(UNTOUCHED, first)) == (2, 1, 0)


def of_kinds(*tasks: tuple[str, str]) -> list[Row]:
    rng = random.Random(0)
    return [row(weights, task, 100 * rng.random(), type=kind) for task, kind in tasks for weights in (BASE, ONE, TWO)]


KINDS = (("s", "STS"), ("t", "STS"), ("u", "STS"), ("r", "Retrieval"), ("c", "Clustering"), ("d", "Clustering"))


def test_every_kind_counts_once_in_the_mean_over_kinds() -> None:
    rows = of_kinds(*KINDS)
    made = board(*rows)
    _, kinds = made.overall()
    assert kinds.title == "Mean over 3 kinds, 6 tasks"
    seeds = []
    for weights in (ONE, TWO):
        by_kind: dict[str, list[float]] = {}
        for one in rows:
            if one.weights == weights:
                by_kind.setdefault(one.type, []).append(one.score)
        seeds.append(sum(sum(own) / len(own) for own in by_kind.values()) / len(by_kind))
    score = made.score(TRAINED, kinds, 4)
    assert score is not None and score.mean == pytest.approx(sum(seeds) / 2)
    assert score.spread == pytest.approx(abs(seeds[0] - seeds[1]))


def test_there_is_none_where_it_is_the_mean_over_tasks() -> None:
    for tasks in (KINDS[:3], KINDS[2:4]):
        assert len(board(*of_kinds(*tasks)).overall()) == 1


def test_a_column_fitted_on_the_corpus_says_so_and_takes_no_task_from_the_means() -> None:
    own = Compared(label="own rotation", weights=(BASE,), method="rotation")
    assert own.label == "own rotation (fitted on the corpus)" and own.fitted_on_corpus
    assert Compared(label=own.label, weights=(BASE,), fitted_on_corpus=True).label == own.label
    about = ABOUT.model_copy(update={"columns": (UNTOUCHED, TRAINED, own)})
    fitted = [row(BASE, task, 90, type=kind, method="rotation") for task, kind in KINDS[3:]]
    made = Board(about, [*of_kinds(*KINDS), *fitted])
    tasks, kinds = made.overall()
    assert len(tasks.places) == len(kinds.places) == 6
    assert tasks.note.endswith("; none of own rotation (fitted on the corpus), which not every task can have")
    assert made.score(own, tasks, 4) is None and made.score(own, kinds, 4) is None
    by_title = {sheet.title: made.score(own, sheet, 4) for sheet in made.of_types()}
    assert by_title == {"STS, 3 tasks": None, "r": Score(90), "Clustering, 2 tasks": Score(90)}
    restricted = made.over_kinds(also=(own,))
    assert restricted is not None and restricted.title == "Mean over 2 kinds, 3 tasks"
    assert made.score(own, restricted, 4) == Score(90)


def test_a_given_rotation_is_told_from_another() -> None:
    rotated = Compared(label="R", weights=(BASE,), method="rotated", rotation="1" * 64)
    assert rotated.holds(row(BASE, "t", 1, method="rotated", rotation="1" * 64))
    assert not rotated.holds(row(BASE, "t", 1, method="rotated", rotation="2" * 64))
    assert not UNTOUCHED.holds(row(BASE, "t", 1, method="rotated", rotation="1" * 64))
