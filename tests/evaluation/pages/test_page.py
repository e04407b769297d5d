from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from matryoshka_text.errors import RecipeError
from matryoshka_text.evaluation.pages.page import main
from matryoshka_text.rows import Row, append_rows

BASE, ONE, TWO = "a" * 64, "b" * 64, "c" * 64
ABOUT = {
    "title": "Quickstart",
    "recipe": "recipes/quickstart.yaml",
    "commit": "0123456789abcdef",
    "command": "make quickstart",
    "note": "A note.",
    "seeds": {0: ONE, 1: TWO},
    "baseline": "untouched",
    "baseline_weights": BASE,
    "front": ["Task"],
}


def _row(weights: str, dim: int, score: float) -> Row:
    return Row(
        model="org/name", weights=weights, origin="folder", task="Task", type="STS", split="test", metric="spearman",
        dim=dim, width=8, bytes_per_vector=4 * dim, score=score, normalize=True, versions={}, data="x",
        date=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "eval" / "results" / "quickstart"
    folder.mkdir(parents=True)
    (folder / "about.yaml").write_text(yaml.safe_dump(ABOUT))
    append_rows(
        folder / "rows.jsonl", [_row(BASE, 4, 60.0), _row(ONE, 4, 63.0), _row(TWO, 4, 64.0), _row(BASE, 8, 80.0)]
    )
    # A later row replaces an earlier one.
    append_rows(folder / "rows.jsonl", [_row(ONE, 8, 1.0), _row(ONE, 8, 80.5), _row(TWO, 8, 79.5)])
    (tmp_path / "README.md").write_text("top\n<!-- table:quickstart -->\nold\n<!-- /table:quickstart -->\nrest\n")
    return tmp_path


def test_the_pages_come_from_the_rows(root: Path) -> None:
    assert main(["--root", str(root), "--check"]) == 1
    assert main(["--root", str(root)]) == 0
    assert main(["--root", str(root), "--check"]) == 0
    page = (root / "eval" / "README.md").read_text()
    assert "| 4 | 16 | 60.00 | 63.50 | 1.00 | +3.50 |" in page
    assert "| 8 | 32 | 80.00 | 80.00 | 1.00 | +0.00 |" in page
    assert "| Task | +1.75 |" in page
    front = (root / "README.md").read_text()
    assert front.startswith("top\n<!-- table:quickstart -->\n| dims |")
    assert "| 4 | 16 | 63.50 | +3.50 |" in front
    assert "commit 012345678" in front
    assert front.endswith("<!-- /table:quickstart -->\nrest\n")


def test_a_stale_page_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--root", str(root)])
    (root / "eval" / "README.md").write_text("by hand")
    assert main(["--root", str(root), "--check"]) == 1
    assert "eval/README.md: stale; run `make tables`" in capsys.readouterr().err
    assert (root / "eval" / "README.md").read_text() == "by hand"


def test_an_unreadable_about_is_named(root: Path) -> None:
    (root / "eval" / "results" / "quickstart" / "about.yaml").write_text("title: x\n")
    with pytest.raises(RecipeError, match=r"about\.yaml: cannot be read"):
        main(["--root", str(root)])


def test_the_repositorys_own_pages_are_fresh(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(repo), "--check"]) == 0, capsys.readouterr().err
