from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from matryoshka_text.errors import RecipeError
from matryoshka_text.rows import Row, append_rows
from tools.pages.page import main
from tools.pages.study import render_study

NESTED, SMALL, FULL = "a" * 64, "b" * 64, "c" * 64
STUDY = {
    "title": "Nested or alone",
    "recipe": "recipes/studies/x.yaml",
    "commit": "0123456789abcdef",
    "command": "mtext eval",
    "note": "A note.",
    "nested": {"nested": NESTED},
    "ff": {4: SMALL, 8: FULL},
}


def _row(weights: str, dim: int, score: float, perplexity: float) -> Row:
    return Row(
        model="org/name", weights=weights, origin="folder", task="text", type="MaskedText", split="held_out",
        metric="masked_accuracy", dim=dim, width=8, bytes_per_vector=4 * dim, score=score, normalize=False, versions={},
        further={"perplexity": perplexity}, data="x", date=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "eval" / "results" / "study"
    home.mkdir(parents=True)
    (home / "study.yaml").write_text(yaml.safe_dump(STUDY))
    rows = [
        _row(NESTED, 4, 20.0, 90.0),
        _row(NESTED, 8, 31.5, 40.0),
        _row(SMALL, 4, 20.5, 88.0),
        _row(FULL, 8, 31.0, 41.26),
    ]
    # An FF model counts at its own dim alone.
    append_rows(home / "rows.jsonl", [*rows, _row(FULL, 4, 1.0, 999.0)])
    return home


def test_each_dim_beside_the_model_of_that_dim(folder: Path) -> None:
    page = render_study(folder)
    assert "| 4 | 20.50 (88.0) | 20.00 (90.0) | -0.50 |" in page
    assert "| 8 | 31.00 (41.3) | 31.50 (40.0) | +0.50 |" in page
    assert "| mean | |  | +0.00 |" in page
    assert "999" not in page


def test_a_row_that_is_missing_is_a_dash(folder: Path) -> None:
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | {"ff": {4: "d" * 64, 8: FULL}}))
    assert "| 4 | - | 20.00 (90.0) | - |" in render_study(folder)


def test_studies_follow_the_results_on_the_page(folder: Path) -> None:
    root = folder.parents[2]
    (root / "README.md").write_text("top\n")
    assert main(["--root", str(root)]) == 0
    assert "## Nested or alone" in (root / "eval" / "README.md").read_text()
    assert main(["--root", str(root), "--check"]) == 0


def test_a_damaged_study_is_told(folder: Path) -> None:
    (folder / "study.yaml").write_text("title: x\n")
    with pytest.raises(RecipeError, match=r"study\.yaml: cannot be read"):
        render_study(folder)
