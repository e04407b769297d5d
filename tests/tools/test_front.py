"""The README's table."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from matryoshka_text.errors import RecipeError
from matryoshka_text.rows import Row, append_rows
from tests import builders
from tools.pages.folder import read_folder
from tools.pages.front import render_front, the_front

BASE, ONE, TWO = "a" * 64, "b" * 64, "c" * 64
ABOUT: dict[str, Any] = {
    "title": "Side by side",
    "recipe": "recipes/x.yaml",
    "commit": "0123456789abcdef",
    "command": "mtext eval",
    "note": "A note.",
    "columns": [
        {"label": "untouched", "weights": [BASE]},
        {"label": "trained", "weights": [ONE, TWO]},
        {"label": "PCA", "weights": [BASE], "method": "pca"},
    ],
    "front": ["one", "sort"],
    "front_column": "trained",
}


def row(weights: str, task: str, dim: int, score: float, **changes: Any) -> Row:
    more = {"type": "Classification", "metric": "accuracy"} if task == "sort" else {}
    return builders.row(weights, task, dim, score, **more, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "side"
    home.mkdir()
    describe(home)
    rows = [row(BASE, task, dim, 60.0 + dim, interval=(50, 80)) for task in ("one", "sort") for dim in (4, 8)]
    rows += [row(BASE, "one", dim, 70, method="pca") for dim in (2, 4, 8)]
    rows += [row(ONE, "one", 4, 66), row(TWO, "one", 4, 65), row(ONE, "one", 8, 68), row(TWO, "one", 8, 67)]
    append_rows(home / "rows.jsonl", [*rows, row(ONE, "sort", 4, 60)])
    return home


def describe(folder: Path, **changes: Any) -> None:
    about = {key: value for key, value in (ABOUT | changes).items() if value is not None}
    (folder / "baselines.yaml").write_text(yaml.safe_dump(about))


def test_a_column_against_the_first_for_a_few_tasks(folder: Path) -> None:
    assert render_front(read_folder(folder)) == (
        "| dims | bytes a vector | one | against untouched | sort | against untouched |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| 4 | 16 | 65.50 | +1.50 | 60.00 | -4.00 |\n"
        "| 8 | 32 | 67.50 | -0.50 | - | - |\n"
        "\n"
        "A note. Mean of 2 seeds (sort: of 1), x 100 (one: cosine_spearman, sort: accuracy); made by "
        "[recipes/x.yaml](recipes/x.yaml) at commit 012345678. All tasks and the spread: "
        "[eval/README.md](eval/README.md).\n"
    )


def test_real_differences_are_bold_and_that_is_told(folder: Path) -> None:
    numbers = {"table": "one", "column": "trained", "dim": 4, "difference": 1.5}
    (folder / "differences.jsonl").write_text(json.dumps({**numbers, "low": -1, "high": 3}) + "\n")
    assert "bold" not in render_front(read_folder(folder))
    (folder / "differences.jsonl").write_text(json.dumps({**numbers, "low": 0.5, "high": 3}) + "\n")
    front = render_front(read_folder(folder))
    assert "| 4 | 16 | 65.50 | **+1.50** | 60.00 | -4.00 |" in front
    assert "In bold: more than the chance of which items were asked" in front


def test_nothing_trained_names_no_recipe_and_no_seeds(folder: Path) -> None:
    describe(folder, recipe=None, front=["one"], front_column="PCA")
    front = render_front(read_folder(folder))
    assert "| 4 | 16 | 70.00 | +6.00 |" in front
    assert "A note. Scores x 100 (one: cosine_spearman); commit 012345678." in front


def test_a_mean_can_be_shown(folder: Path) -> None:
    append_rows(folder / "rows.jsonl", [row(BASE, "sort", 4, 50, method="pca")])
    describe(folder, front=["All 2 tasks"])
    front = render_front(read_folder(folder))
    assert "| dims | bytes a vector | All 2 tasks | against untouched |" in front
    assert "| 4 | 16 | 62.75 | -1.25 |" in front
    assert "(All 2 tasks: the mean of their main scores)" in front


def with_kinds(folder: Path, **changes: Any) -> None:
    """Two tasks of one kind and one of another in every column, but for the rotation, which has the latter alone."""
    own = {"label": "own", "weights": [BASE], "method": "rotation"}
    describe(folder, columns=[*ABOUT["columns"][:2], own], front=None, front_column=None, **changes)
    (folder / "rows.jsonl").unlink()
    rows = []
    for dim in (4, 8):
        for weights, plus in ((BASE, 0.0), (ONE, 1.0), (TWO, 4.0)):
            rows += [row(weights, "one", dim, 60 + plus), row(weights, "two", dim, 70 + plus)]
            rows += [row(weights, "find", dim, 20 + dim + 2 * plus, type="Retrieval", metric="ndcg_at_10")]
        more = {"metric": "ndcg_at_10", "method": "rotation"}
        rows += [
            row(BASE, "find", dim, 50, type="Retrieval", **more),
            row(BASE, "sets", dim, 40, type="Clustering", **more),
        ]
        rows += [row(weights, "sets", dim, 30, type="Clustering") for weights in (BASE, ONE, TWO)]
    append_rows(folder / "rows.jsonl", rows)


def test_means_over_kinds_of_several_columns(folder: Path) -> None:
    with_kinds(folder, front_kinds=["untouched", "trained"])
    assert the_front([read_folder(folder)]) is not None
    # (65 + 24 + 30) / 3, then (67.5 + 29 + 30) / 3.
    assert render_front(read_folder(folder)) == (
        "| dims | bytes a vector | untouched | trained | trained against untouched |\n"
        "| ---: | ---: | ---: | ---: | ---: |\n"
        "| 4 | 16 | 39.67 | 42.17 | +2.50 |\n"
        "| 8 | 32 | 41.00 | 43.50 | +2.50 |\n"
        "\n"
        "A note. Main scores x 100, mean over 3 kinds of task (STS, Retrieval, Clustering) of the mean over the tasks "
        "of each (4 tasks): each kind counts once. Means: trained of 2 seeds. Made by [recipes/x.yaml](recipes/x.yaml) "
        "at commit 012345678. All tasks and the spread: [eval/README.md](eval/README.md).\n"
    )


def test_a_column_fitted_on_the_corpus_is_marked_and_narrows_the_tasks_for_all(folder: Path) -> None:
    with_kinds(folder, front_kinds=["trained", "untouched", "own"])
    front = render_front(read_folder(folder))
    assert "| own (fitted on the corpus) | own (fitted on the corpus) against trained |" in front
    assert "| 4 | 16 | 29.50 | 27.00 | 45.00 | +15.50 |" in front
    assert "mean over 2 kinds of task (Retrieval, Clustering) of the mean over the tasks of each (2 tasks)" in front


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"front_kinds": ["untouched", "none"]}, "front_kinds: found .*'none'.*; allowed: at least two different of"),
        ({"front_kinds": ["untouched"]}, "front_kinds: found"),
        (
            {"front_kinds": ["untouched", "trained"], "front": ["one"], "front_column": "trained"},
            "together with `front`",
        ),
    ],
)
def test_front_kinds_are_different_columns_and_stand_alone(folder: Path, changes: dict[str, Any], said: str) -> None:
    describe(folder, **{"front": None, "front_column": None, **changes})
    with pytest.raises(RecipeError, match=said):
        read_folder(folder)


def test_kinds_need_more_than_one_kind(folder: Path) -> None:
    describe(folder, front=None, front_column=None, front_kinds=["untouched", "trained"])
    (folder / "rows.jsonl").unlink()
    append_rows(folder / "rows.jsonl", [row(one, "one", 4, 1, method="first") for one in (BASE, ONE)])
    with pytest.raises(RecipeError, match="front_kinds: the columns share tasks of fewer than two kinds"):
        render_front(read_folder(folder))


def test_a_task_without_rows_is_told(folder: Path) -> None:
    describe(folder, front=["one", "three"])
    with pytest.raises(
        RecipeError, match=r"baselines\.yaml: front: found three; allowed, as rows\.jsonl .*: one, sort$"
    ):
        render_front(read_folder(folder))


def test_one_folder_alone_is_the_front(folder: Path) -> None:
    other = folder.parent / "other"
    other.mkdir()
    describe(other, front=None, front_column=None)
    folders = [read_folder(other), read_folder(folder)]
    assert the_front(folders) is folders[1]
    assert the_front(folders[:1]) is None
    describe(other)
    with pytest.raises(RecipeError, match=r"other/baselines\.yaml and .*side/baselines\.yaml: found `front` in 2 of"):
        the_front([read_folder(other), read_folder(folder)])


def test_one_task_is_shown_again_with_what_was_fitted_on_its_documents(folder: Path) -> None:
    columns = [*ABOUT["columns"], {"label": "own rotation", "weights": [BASE], "method": "rotation"}]
    kinds = {"front": None, "front_column": None, "front_kinds": ["untouched", "PCA"], "front_corpus": "sort"}
    extra = [
        row(BASE, "sort", dim, 63.0 + dim, method="rotation", rotation="e" * 64, sample="f" * 64) for dim in (4, 8)
    ]
    append_rows(folder / "rows.jsonl", [*extra, row(BASE, "sort", 4, 61, method="pca")])
    describe(folder, columns=columns, **kinds)
    assert render_front(read_folder(folder)).endswith(
        "| dims | bytes a vector | untouched | own rotation (fitted on the corpus) | difference |\n"
        "| ---: | ---: | ---: | ---: | ---: |\n"
        "| 4 | 16 | 64.00 | 67.00 | +3.00 |\n"
        "| 8 | 32 | 68.00 | 71.00 | +3.00 |\n"
    )
    describe(folder, columns=columns, **{**kinds, "front_corpus": "two"})
    with pytest.raises(RecipeError, match="front_corpus: found 'two'"):
        render_front(read_folder(folder))
    describe(folder, **kinds)
    with pytest.raises(RecipeError, match="front_corpus"):
        read_folder(folder)
