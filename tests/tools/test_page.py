from pathlib import Path
from typing import Any

import pytest
import yaml

from matryoshka_text.rows import append_rows
from tests.builders import row
from tools.pages.page import main

BASE, ONE, TWO = "a" * 64, "b" * 64, "c" * 64
ABOUT: dict[str, Any] = {
    "title": "Side by side",
    "recipe": "recipes/x.yaml",
    "commit": "0123456789abcdef",
    "command": "make quickstart",
    "note": "A note.",
    "columns": [{"label": "untouched", "weights": [BASE]}, {"label": "trained", "weights": [ONE, TWO]}],
    "front": ["Task"],
    "front_column": "trained",
}
UNSHOWN = {key: value for key, value in ABOUT.items() if not key.startswith("front")}


def _folder(root: Path, name: str, about: dict[str, Any]) -> Path:
    folder = root / "eval" / "results" / name
    folder.mkdir(parents=True)
    (folder / "baselines.yaml").write_text(yaml.safe_dump(about))
    rows = [
        row(BASE, "Task", 4, 60.0, metric="spearman"),
        row(ONE, "Task", 4, 63.0, metric="spearman"),
        row(TWO, "Task", 4, 64.0, metric="spearman"),
        row(BASE, "Task", 8, 80.0, metric="spearman"),
    ]
    # A later row replaces an earlier one.
    append_rows(
        folder / "rows.jsonl",
        [
            *rows,
            row(ONE, "Task", 8, 1.0, metric="spearman"),
            row(ONE, "Task", 8, 80.5, metric="spearman"),
            row(TWO, "Task", 8, 79.5, metric="spearman"),
        ],
    )
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    _folder(tmp_path, "side", ABOUT)
    (tmp_path / "README.md").write_text("top\n<!-- table:quickstart -->\nold\n<!-- /table:quickstart -->\nrest\n")
    return tmp_path


def _told(root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says when its sources are damaged; nothing is written."""
    before = (root / "README.md").read_text()
    assert main(["--root", str(root)]) == 2
    assert (root / "README.md").read_text() == before
    assert not (root / "eval" / "README.md").exists()
    return capsys.readouterr().err


def test_the_pages_come_from_the_rows(root: Path) -> None:
    assert main(["--root", str(root), "--check"]) == 1
    assert main(["--root", str(root)]) == 0
    assert main(["--root", str(root), "--check"]) == 0
    page = (root / "eval" / "README.md").read_text()
    assert page.startswith("# Results\n\nGenerated from the rows in `results/` and from `conclusions.md`")
    assert "\n\n## Side by side\n\nA note.\n\nRecipe `recipes/x.yaml`, commit `012345678`;\n" in page
    assert "| 4 | 16 | 60.00 | 63.50 (1.00) | +3.50 |\n| 8 | 32 | 80.00 | 80.00 (1.00) | +0.00 |\n" in page
    front = (root / "README.md").read_text()
    assert front.startswith("top\n<!-- table:quickstart -->\n| dims |")
    assert "| 4 | 16 | 63.50 | +3.50 |" in front
    assert front.endswith("<!-- /table:quickstart -->\nrest\n")


def test_folders_follow_one_another_by_name(root: Path) -> None:
    _folder(root, "later", UNSHOWN | {"title": "Later"})
    _folder(root, "a", UNSHOWN | {"title": "First"})
    assert main(["--root", str(root)]) == 0
    lines = (root / "eval" / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("## ")] == ["## First", "## Later", "## Side by side"]
    assert lines[lines.index("## Later") - 1] == "" != lines[lines.index("## Later") - 2]


def test_conclusions_come_first(root: Path) -> None:
    (root / "eval" / "conclusions.md").write_text("It works.\n")
    assert main(["--root", str(root)]) == 0
    assert "came about.\n\nIt works.\n\n## Side by side\n" in (root / "eval" / "README.md").read_text()


def test_a_stale_page_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--root", str(root)])
    (root / "eval" / "README.md").write_text("by hand")
    assert main(["--root", str(root), "--check"]) == 1
    assert "eval/README.md: stale; run `make tables`" in capsys.readouterr().err
    assert (root / "eval" / "README.md").read_text() == "by hand"


def test_an_unreadable_description_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "eval" / "results" / "side" / "baselines.yaml").write_text("title: x\n")
    assert "side/baselines.yaml: cannot be read" in _told(root, capsys)


def test_two_fronts_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _folder(root, "other", ABOUT)
    told = _told(root, capsys)
    assert "results/other/baselines.yaml and " in told and "results/side/baselines.yaml: found `front` in 2" in told


def test_a_table_without_rows_and_rows_without_a_table_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = root / "eval" / "results" / "side" / "baselines.yaml"
    about.write_text(yaml.safe_dump(UNSHOWN))
    assert "README.md: found <!-- table:quickstart -->, and `front` in none of" in _told(root, capsys)
    about.write_text(yaml.safe_dump(ABOUT))
    (root / "README.md").write_text("top\n<!-- table:quickstart -->\n")
    assert "README.md: found no <!-- table:quickstart --> … <!-- /table:quickstart -->" in _told(root, capsys)
    about.write_text(yaml.safe_dump(UNSHOWN))
    (root / "README.md").write_text("top\n")
    assert main(["--root", str(root)]) == 0
    assert (root / "README.md").read_text() == "top\n"


def test_rows_that_nothing_describes_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_folder(root, "old", ABOUT) / "baselines.yaml").unlink()
    assert "results/old: found rows.jsonl and neither baselines.yaml nor study.yaml" in _told(root, capsys)


def test_the_repositorys_own_pages_are_fresh(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(repo), "--check"]) == 0, capsys.readouterr().err
