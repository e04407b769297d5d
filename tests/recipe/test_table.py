"""recipes/README.md."""

from pathlib import Path

import pytest

from matryoshka_text.recipe import Recipe, load_recipe
from matryoshka_text.recipe.describe import sections_in
from matryoshka_text.recipe.table import main, readme
from matryoshka_text.section import Section


def every_section(section: type[Section] = Recipe) -> list[type[Section]]:
    inner = [one for field in section.model_fields.values() for one in sections_in(field.annotation)]
    return [section, *(deeper for one in inner for deeper in every_section(one))]


def test_every_key_is_described_and_in_the_page(tmp_path: Path) -> None:
    page = readme(tmp_path)
    fields = [(name, field) for section in every_section() for name, field in section.model_fields.items()]
    assert len(fields) > 60
    for name, field in fields:
        assert field.description, name
        assert f"| `{name}` | " in page
        assert field.description in page


def test_a_page_that_is_out_of_date_is_found(tmp_path: Path, good: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.yaml").write_text(good)
    arguments = ["--folder", str(tmp_path)]
    assert main([*arguments, "--check"]) == 1
    assert "is out of date; run: python -m matryoshka_text.recipe.table" in capsys.readouterr().err
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    cells = ["sentence-transformers/all-MiniLM-L6-v2", "12, 24, 48", "distill, info_nce", "nli", "64", "120 steps"]
    assert f"| [good.yaml](good.yaml) | {' | '.join(cells)} |\n" in (tmp_path / "README.md").read_text()
    (tmp_path / "good.yaml").write_text(good.replace("120", "130"))
    assert main([*arguments, "--check"]) == 1


def test_a_broken_recipe_makes_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\n")
    assert main(["--folder", str(tmp_path)]) == 2
    assert "bad.yaml:1: base: found nothing" in capsys.readouterr().err
    assert not (tmp_path / "README.md").exists()


def test_the_page_in_the_tree_is_up_to_date(repo: Path) -> None:
    assert main(["--folder", str(repo / "recipes"), "--check"]) == 0


def test_every_recipe_in_the_tree_is_valid_and_named_as_its_file(repo: Path) -> None:
    paths = sorted((repo / "recipes").rglob("*.yaml"))
    assert paths
    for path in paths:
        assert load_recipe(path).name == path.stem
