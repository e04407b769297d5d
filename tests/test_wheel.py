"""The wheel, installed apart from the checkout: recipes, suites and data come with it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_wheel_brings_recipes_suites_and_data(repo: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=repo, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert (tmp_path / "site" / "matryoshka_text" / "py.typed").exists()
    share = tmp_path / "site" / "matryoshka_text" / "_share"
    assert (share / "recipes" / "quickstart.yaml").exists()
    assert (tmp_path / "site/matryoshka_text/evaluation/report/report.html.j2").exists()
    assert (share / "suites" / "english.yaml").exists()
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"}
    where = "import matryoshka_text; print(matryoshka_text.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(tmp_path / "site"))
    command = [sys.executable, "-m", "matryoshka_text", "eval", "sentence-transformers/all-MiniLM-L6-v2"]
    done = subprocess.run(
        [*command, "--suite", "quick", "--dry-run"], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Banking77" in done.stdout
    assert str(share) in done.stdout
