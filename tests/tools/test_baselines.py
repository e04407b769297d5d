"""Models and baselines side by side on the page of results."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.rows import Row, append_rows
from tests.builders import row
from tools.pages.baselines import render_baselines
from tools.pages.folder import read_folder
from tools.pages.page import main

BASE, ONE, TWO = "a" * 64, "b" * 64, "c" * 64
ABOUT: dict[str, Any] = {
    "title": "Side by side",
    "commit": "0123456789abcdef",
    "command": "mtext eval MODEL --baselines random",
    "note": "A note.",
    "columns": [
        {"label": "untouched", "weights": [BASE]},
        {"label": "trained", "weights": [ONE, TWO]},
        {"label": "random-m", "weights": [BASE], "method": "random"},
        {"label": "int8", "weights": [BASE], "precision": "int8"},
    ],
}


def some_rows() -> list[Row]:
    sorting = {"type": "Classification", "metric": "accuracy"}
    rows = []
    for task, more, plus in (("one", {}, 0.0), ("sort", sorting, -10.0), ("two", {}, 20.0)):
        rows += [
            row(BASE, task, 4, 60 + plus, interval=(59 + plus, 60.5 + plus), **more),
            row(BASE, task, 8, 70, **more),
        ]
        rows += [row(ONE, task, 4, 61 + plus, **more), row(TWO, task, 4, 63 + 2 * plus, **more)]
        rows += [row(ONE, task, 8, 69, **more), row(TWO, task, 8, 70, **more)]
        rows += [row(BASE, task, 4, 40 + n, method="random", seed=n, **more) for n in range(3)]
        rows += [row(BASE, task, dim, 59.0 + dim, precision="int8", **more) for dim in (4, 8)]
    return [*rows, row(BASE, "one", 4, 99, layers=1), row("d" * 64, "one", 4, 99)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "eval" / "results" / "side"
    home.mkdir(parents=True)
    (home / "baselines.yaml").write_text(yaml.safe_dump(ABOUT))
    append_rows(home / "rows.jsonl", some_rows())
    return home


def page_of(folder: Path) -> str:
    return render_baselines(read_folder(folder))


def table(page: str, title: str) -> list[str]:
    """The lines of the table below the heading."""
    after = page.split(f"### {title}\n")[1].split("\n### ")[0]
    return [line for line in after.splitlines() if line.startswith("|")]


def test_each_task_has_scores_and_differences_to_the_first_column(folder: Path) -> None:
    page = page_of(folder)
    assert table(page, "one") == [
        "| dim | bytes a vector | untouched | trained | difference | random-m | difference | int8 | difference |",
        "|" + " ---: |" * 9,
        "| 4 | 16 | 60.00 ± 0.75 | 62.00 (2.00) | +2.00 | 41.00 (2.00) | -19.00 | 63.00 | +3.00 |",
        "| 8 | 32 | 70.00 | 69.50 (1.00) | -0.50 | - | - | 67.00 | -3.00 |",
    ]
    assert "99.00" not in page
    assert "### one\n\nSTS, cosine_spearman x 100.\n" in page


def test_the_means_come_first_and_fold_the_tasks_away(folder: Path) -> None:
    page = page_of(folder)
    # The mean of three tasks; the spread is that of the seeds' means.
    assert table(page, "All 3 tasks")[2].startswith("| 4 | 16 | 63.33 | 67.00 (5.33) | +3.67 | 41.00 (2.00) | -22.33 |")
    assert "### All 3 tasks\n\nMean of the tasks' main scores x 100, each task counting once.\n" in page
    assert table(page, "STS, 2 tasks")[2].startswith("| 4 | 16 | 70.00 | 77.00 (12.00) | +7.00 |")
    assert "### Classification" not in page  # of one task
    assert "Mean of one, two (cosine_spearman x 100)." in page
    types, tasks = "<summary>Scores and spread by type of task</summary>", "<summary>Each of the 3 tasks</summary>"
    kept, by_type = "### Smallest dim", "### By type"
    parts = ["### All 3", kept, by_type, types, "### STS,", "</details>", tasks, "### one", "### two", "### sort"]
    order = [page.index(part) for part in parts]
    assert order == sorted(order)
    assert page.endswith("\n\n</details>\n") and page.count("</details>") == page.count("<details>") == 2


def test_types_are_set_side_by_side(folder: Path) -> None:
    assert table(page_of(folder), "By type of task") == [
        "| type |  | 4 | 8 |",
        "| :--- | :--- | ---: | ---: |",
        "| STS, 2 tasks | untouched | 70.00 | 70.00 |",
        "|  | trained | +7.00 | -0.50 |",
        "|  | random-m | -29.00 | - |",
        "|  | int8 | -7.00 | -3.00 |",
        "| Classification, sort | untouched | 50.00 | 70.00 |",
        "|  | trained | -3.00 | -0.50 |",
        "|  | random-m | -9.00 | - |",
        "|  | int8 | +13.00 | -3.00 |",
    ]


def test_of_one_type_there_is_one_mean_and_no_table_of_types(folder: Path) -> None:
    (folder / "rows.jsonl").unlink()
    append_rows(folder / "rows.jsonl", [one for one in some_rows() if one.task != "sort"])
    page = page_of(folder)
    assert "### All 2 tasks" in page
    assert "STS, 2 tasks" not in page and "By type" not in page and "by type" not in page


def test_the_dims_that_keep_a_share_of_the_first_columns_full_width(folder: Path) -> None:
    # untouched at its width of 8: 70; means at 4 and 8 of the others: 67, 69.5; 41; 63, 67.
    page = page_of(folder)
    assert table(page, "Smallest dim that keeps the score") == [
        "| share | untouched | trained | random-m | int8 |",
        "|" + " ---: |" * 5,
        "| 99% (69.30) | 8 | 8 | - | - |",
        "| 95% (66.50) | 8 | 4 | - | 8 |",
        "| 90% (63.00) | 4 | 4 | - | 4 |",
    ]
    assert "at least that share of untouched's at its full width, 8 dims (70.00)" in page


def test_without_the_full_width_no_share_is_told(folder: Path) -> None:
    (folder / "rows.jsonl").unlink()
    append_rows(folder / "rows.jsonl", [one for one in some_rows() if one.dim == 4 or one.weights != BASE])
    assert "### All 3 tasks" in page_of(folder)
    assert "Smallest dim" not in page_of(folder)


def test_what_a_column_stands_for_is_told(folder: Path) -> None:
    columns = [{**ABOUT["columns"][0], "about": "as published"}, *ABOUT["columns"][1:]]
    assert "* **" not in page_of(folder)
    (folder / "baselines.yaml").write_text(yaml.safe_dump(ABOUT | {"columns": columns}))
    assert "A note.\n\n* **untouched**: as published\n\nCommit" in page_of(folder)


def test_the_marks_that_occur_are_explained(folder: Path) -> None:
    page = page_of(folder)
    assert "Differences are to untouched, in points. ± is half the width" in page
    assert "In brackets the spread" in page
    assert "bold" not in page
    (folder / "rows.jsonl").unlink()
    append_rows(
        folder / "rows.jsonl", [one.model_copy(update={"interval": None}) for one in some_rows() if one.seed is None]
    )
    assert "±" not in page_of(folder)


def test_old_rows_without_the_new_fields_are_read(folder: Path) -> None:
    new = {"method", "seed", "precision", "interval", "sample", "settings"}
    lines = [row(weights, "one", 4, 50.0).model_dump_json(exclude=new) for weights in (BASE, ONE)]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    page = page_of(folder)
    assert table(page, "one")[2] == "| 4 | 16 | 50.00 | 50.00 | +0.00 | - | - | - | - |"
    assert "<details>" not in page  # one task: nothing to fold


def test_a_task_that_a_column_lacks_is_no_part_of_the_means(folder: Path) -> None:
    append_rows(folder / "rows.jsonl", [row(BASE, "three", 4, 1.0)])
    page = page_of(folder)
    assert "each task counting once; without three, which not every column has.\n" in page
    assert table(page, "three")[2].startswith("| 4 | 16 | 1.00 | - | - |")


def test_splits_are_told_apart(folder: Path) -> None:
    append_rows(folder / "rows.jsonl", [row(BASE, "one", 4, 1.0, split="validation")])
    page = page_of(folder)
    assert table(page, "one (validation)")[2].startswith("| 4 | 16 | 1.00 |")
    assert table(page, "one")[2].startswith("| 4 | 16 | 60.00")


def test_a_recipe_is_named_where_something_was_trained(folder: Path) -> None:
    assert "Commit `012345678`;\nrows in `results/side/rows.jsonl`, made by `mtext eval" in page_of(folder)
    (folder / "baselines.yaml").write_text(yaml.safe_dump(ABOUT | {"recipe": "recipes/x.yaml"}))
    assert "Recipe `recipes/x.yaml`, commit `012345678`;" in page_of(folder)


def test_it_is_part_of_the_page_of_results(folder: Path) -> None:
    root = folder.parents[2]
    (root / "README.md").write_text("top\n")
    assert main(["--root", str(root)]) == 0
    assert "## Side by side" in (root / "eval" / "README.md").read_text()
    assert main(["--root", str(root), "--check"]) == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"columns": ABOUT["columns"][:1]}, "at least 2"),
        ({"columns": [ABOUT["columns"][0]] * 2}, "a different one for each column"),
        ({"columns": [ABOUT["columns"][0], {"label": "x", "weights": ["b"]}]}, "weights"),
        ({"columns": [ABOUT["columns"][0], {"label": "x", "weights": [ONE], "method": "best"}]}, "method"),
        ({"seeds": 3}, "seeds"),
        (
            {"front": ["one"]},
            r"front_column: found None; allowed with `front`: one of \['trained', 'random-m', 'int8'",
        ),
        ({"front": ["one"], "front_column": "untouched"}, "front_column: found 'untouched'"),
        ({"front_column": "trained"}, "front: found nothing with front_column"),
    ],
)
def test_a_damaged_description_is_told(folder: Path, change: dict[str, Any], told: str) -> None:
    (folder / "baselines.yaml").write_text(yaml.safe_dump(ABOUT | change))
    with pytest.raises(RecipeError, match=rf"(?s)baselines\.yaml: cannot be read.*{told}"):
        page_of(folder)


def test_real_differences_are_bold(folder: Path) -> None:
    def line(dim: int, column: str, gap: float, low: float, high: float, name: str = "one") -> str:
        numbers = {"dim": dim, "difference": gap, "low": low, "high": high}
        return json.dumps({"table": name, "column": column, **numbers}) + "\n"

    text = line(4, "trained", 2.0, 0.5, 3.5) + line(8, "trained", -0.5, -1.0, 0.5) + line(4, "random-m", -19.0, -20, -9)
    (folder / "differences.jsonl").write_text(text + line(4, "trained", 11 / 3, 1.0, 5.0, "All 3 tasks"))
    page = page_of(folder)
    assert table(page, "one")[2:] == [
        "| 4 | 16 | 60.00 ± 0.75 | 62.00 (2.00) | **+2.00** | 41.00 (2.00) | **-19.00** | 63.00 | +3.00 |",
        "| 8 | 32 | 70.00 | 69.50 (1.00) | -0.50 | - | - | 67.00 | -3.00 |",
    ]
    assert "| **+3.67** |" in table(page, "All 3 tasks")[2]
    assert "A difference in bold is more than" in page
    for wrong, told in (
        (
            line(4, "trained", 2.5, 0.5, 3.5),
            r"found a difference of \+2\.5000, the rows give \+2\.0000; write it again",
        ),
        (line(4, "gone", 2.0, 0.5, 3.5), "the rows give none"),
        ("{}\n", r"differences\.jsonl:2: is no difference"),
    ):
        (folder / "differences.jsonl").write_text(line(4, "trained", 2.0, 0.5, 3.5) + wrong)
        with pytest.raises(DataError, match=told):
            page_of(folder)
