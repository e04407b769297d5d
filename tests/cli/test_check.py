"""`mtext check` as a process."""

import subprocess
import sys
from pathlib import Path

import pytest

BAD = "name: bad\nbase: {model: owner/none}\ndims: [2, 1]\nobjectives: [{kind: info_nce}]\nstopping: {}\ndata: []\n"


def mtext(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "matryoshka_text", "check", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_errors_of_all_recipes_and_exit_status_2(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "good.yaml").write_text(
        "name: good\nbase: {model: owner/none}\ndims: [2]\nobjectives: [{kind: info_nce}]\nstopping: {steps: 1}\n"
        "batch: {size: 2}\ndata: [{name: one, file: one.csv, kind: pairs}]\n"
    )
    (tmp_path / "one.csv").write_text("anchor,positive\na,b\nc,d\n")
    done = mtext("bad.yaml", "good.yaml", "none/*.yaml", ".", folder=tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 2, done.stderr
    assert lines[:3] == [
        "bad.yaml:3: dims[1]: found 1, which is not above 2; allowed: strictly increasing whole numbers; "
        "sort the list upwards",
        "bad.yaml:5: stopping: found neither steps nor epochs; allowed: exactly one of the two; "
        "write `steps: 1000` or `epochs: 1`",
        "bad.yaml:6: data: found []; allowed: a list of sections (not empty); "
        "write, for example, `data: [{name: nli, file: pairs.jsonl.gz, kind: pairs}]`",
    ]
    assert "none/*.yaml: found no file that matches; allowed: existing recipe files; look in none" in lines
    assert ".: found a folder; allowed: a recipe file; name one of its .yaml files (bad.yaml, good.yaml)" in lines
    assert lines[-4:] == ["bad.yaml: 3 errors", "good.yaml: ok", "none/*.yaml: 1 error", ".: 1 error"]
    assert "Traceback" not in done.stderr


def test_the_recipes_in_the_tree_are_right(repo: Path) -> None:
    recipes = sorted((repo / "recipes").rglob("*.yaml"))
    assert recipes
    done = mtext(*map(str, recipes), folder=repo)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-len(recipes) :] == [f"{path}: ok" for path in recipes]


def test_no_recipe_at_all_is_a_mistake(tmp_path: Path) -> None:
    assert mtext(folder=tmp_path).returncode == 2


def test_check_is_a_verb_of_its_own() -> None:
    typer_testing = pytest.importorskip("typer.testing")
    from matryoshka_text.cli import app

    found = typer_testing.CliRunner().invoke(app, ["check", "--help"])
    assert found.exit_code == 0
    assert "Nothing is run" in " ".join(found.output.split())


def test_a_recipe_that_cannot_be_checked_does_not_cost_the_report_on_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from matryoshka_text.build import check as build
    from matryoshka_text.cli.check import check

    known = build.inspect_recipe

    def inspect(path: Path) -> build.Findings:
        if path.name == "bug.yaml":
            raise KeyError("a bug of ours")
        return known(path)

    monkeypatch.setattr(build, "inspect_recipe", inspect)
    (tmp_path / "bad.yaml").write_text("name: bad\n")
    with pytest.raises(KeyError, match="a bug of ours"):
        check([tmp_path / "bug.yaml", tmp_path / "bad.yaml"])
    said = capsys.readouterr().out
    assert f"{tmp_path}/bad.yaml: 5 errors" in said
    assert f"{tmp_path}/bug.yaml: 1 error" in said
