"""`mtext eval` as a process."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from matryoshka_text.rotation import Rotation

SUITE = "name: own\ndescription: one task\ndata: data\ndims: [8, 16]\ntasks: [{task: STSBenchmark}]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = random.Random(0)
    words = "cat dog bank card money street guitar red blue".split()
    data = tmp_path / "data/mteb__stsbenchmark-sts"
    data.mkdir(parents=True)
    rows = [
        {
            "sentence1": " ".join(rng.choices(words, k=5)),
            "sentence2": " ".join(rng.choices(words, k=5)),
            "score": rng.random(),
        }
        for _ in range(20)
    ]
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.yaml").write_text(SUITE)
    return tmp_path


def in_process(
    *arguments: object, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """Status, stdout and stderr of the command run here: a process pays seconds for its imports."""
    import datasets

    from matryoshka_text.cli import main

    monkeypatch.chdir(folder)
    monkeypatch.delenv("MTEXT_DATA_ROOT", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.setattr(sys, "argv", ["mtext", "eval", *map(str, arguments)])
    status = 0
    try:
        main()
    except SystemExit as end:
        status = int(end.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def mtext(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "HF_DATASETS_CACHE": str(folder / "datasets"), "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}
    settings.pop("MTEXT_DATA_ROOT", None)
    command = [sys.executable, "-m", "matryoshka_text", "eval", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)


def test_table_files_and_seconds(folder: Path, tiny_model: Path) -> None:
    done = mtext(tiny_model, "--suite", "own.yaml", "--out", "out", folder=folder)
    assert done.returncode == 0, done.stderr
    label = tiny_model.parent.name
    assert f"STSBenchmark: {label} (cosine_spearman x 100, test split)" in done.stdout
    assert "share of" in done.stdout and "full width" in done.stdout
    assert f"STSBenchmark · {label}: load " in done.stderr and "(40 texts, 0 from the store), score " in done.stderr
    written = {one.name for one in (folder / "out").iterdir() if one.name[0] != "."}
    files = {"curve.png", "curve.svg", "report.html", "results.md", "rows.jsonl", "table.txt"}
    assert written == files | {"items", "results", "vectors"}
    assert [json.loads(line)["dim"] for line in (folder / "out/rows.jsonl").read_text().splitlines()] == [32, 16, 8]


def test_dry_run_shows_everything_and_writes_nothing(
    folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(folder.rglob("*"))
    arguments = [tiny_model, "--suite", "own.yaml", "--dims", "4,8", "--against", tiny_model, "--dry-run"]
    status, out, err = in_process(*arguments, folder=folder, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 0, err
    assert "STSBenchmark: STS, cosine_spearman; data: " in out
    assert "dims 4, 8, 32" in out
    assert set(folder.rglob("*")) == before


def test_dry_run_says_what_is_fitted_and_what_is_applied(
    folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"word {n}", "label": f"l{n % 2}"} for n in range(8)]
    (folder / "data/topics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entries = "[{task: STSBenchmark}, {clustering: topics.jsonl}]"
    (folder / "two.yaml").write_text(f"name: two\ndata: data\nbaselines: [rotation]\ntasks: {entries}\n")
    Rotation(np.eye(32), (8,)).save(folder / "R.safetensors")
    arguments = [tiny_model, "--suite", "two.yaml", "--rotation", "R.safetensors", "--dry-run"]
    status, out, err = in_process(*arguments, folder=folder, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 0, err
    label = tiny_model.parent.name
    assert f"baselines of {label}: rotation; " in out
    assert "rotation: fitted on each task's own documents: topics\n" in out
    assert "rotation given: R.safetensors (width 32, sha256 " in out and f"), applied to {label}\n" in out


def test_masked_text_through_the_command(
    folder: Path, family: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "data/few.txt").write_text("the cat and the dog play in the house\n" * 20)
    (folder / "few.yaml").write_text("name: few\ndata: data\ntasks: [{masked_text: few.txt, max_length: 32}]\n")
    for twin in ("model", "twins/plain/model", "twins/ff-8/model"):
        shutil.copytree(family("bert"), folder / "run-1" / twin)
    capsys.readouterr()  # what making the checkpoint said
    arguments = ["run-1", "--suite", "few.yaml", "--twins", "--out", "out"]
    status, out, err = in_process(*arguments, folder=folder, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 0, err
    assert "few: run-1 (masked_accuracy x 100, 15% masked: " in out
    assert "few, perplexity: run-1 (perplexity, less is better)" in out
    assert out.endswith("written to out: report.html, results.md, table.txt, curve.png, curve.svg, rows.jsonl\n")
    assert err.count("\n") == 3 and "few · FF-8: load " in err


def test_dry_run_of_the_bundled_text(
    folder: Path, family: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [family("bert"), "--suite", "mlm", "--dry-run"]
    status, out, err = in_process(*arguments, folder=folder, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 0, err
    assert out.startswith("suite mlm: 1 task\n  held_out: MaskedText, masked_accuracy, 15% masked in sequences of 128 ")
    assert "text/held_out.txt.gz (sha256 " in out


def test_the_bundled_suite_is_checked_without_a_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--suite", "quick", "--dry-run"]
    status, out, err = in_process(*arguments, folder=folder, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 0, err
    assert "Banking77Classification" in out and "squad" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--suite", "quik"], "error: unknown suite 'quik'; did you mean quick?"),
        (["--suite", "own.yaml", "--dims", "8,64"], "error: --dims: found 64, but"),
        (["--suite", "own.yaml", "--dims", "8;64"], "error: --dims: found '8;64'; allowed: whole numbers and commas"),
        (["--suite", "sts", "--data-root", "data"], "5 of 6 tasks have no data"),
        (["--suite", "own.yaml", "--against", "./none"], "error: ./none: there is no such folder"),
        (["--suite", "own.yaml", "--twins"], "has no twins, there is no folder"),
        (["--suite", "own.yaml", "--out", "own.yaml/out"], "own.yaml/out: cannot be written"),
        (["--suite", "own.yaml", "--sample", "own.yaml"], "--sample: nothing is fitted on it; add --baselines pca"),
        (["--suite", "own.yaml", "--published", "a/b@c"], "--published: says where a submission's model is; add"),
        (
            ["--suite", "own.yaml", "--baselines", "pcb"],
            "--baselines: found 'pcb'; allowed: random, pca, svd, projection",
        ),
        (["--suite", "own.yaml", "--baselines", "rotated"], "allowed: random, pca, svd, projection, rotation, with"),
        (["--suite", "own.yaml", "--baselines", "pca,rotation"], "no task of the suite has a corpus; add a retrieval"),
        (["--suite", "own.yaml", "--rotation", "none.safetensors"], "none.safetensors: there is no such file; give a"),
        (["--suite", "own.yaml", "--rotation", "own.yaml"], "own.yaml: cannot be read as a rotation"),
        (["--suite", "own.yaml", "--rotation", "narrow.safetensors"], "turns vectors of width 4, but"),
        (["--suite", "own.yaml", "--precision", "int4"], "--precision: found 'int4'; allowed: float32, int8, binary"),
        (["--suite", "own.yaml", "--layers", "9"], "--layers: found 9, but"),
        (["--task", "STSBenchmrk"], "mteb has no task and no benchmark 'STSBenchmrk'; did you mean STSBenchmark"),
        (
            ["--suite", "own.yaml", "--submission", "sub"],
            "which is no commit on the hub, so nobody can repeat its scores",
        ),
    ],
)
def test_mistakes_end_with_status_2(
    folder: Path,
    tiny_model: Path,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Rotation(np.eye(4), (2,)).save(folder / "narrow.safetensors")
    status, _, err = in_process(tiny_model, *arguments, folder=folder, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 2
    assert said in err


def test_no_model_is_a_mistake(folder: Path) -> None:
    done = mtext("--suite", "own.yaml", folder=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no model given: mtext eval MODEL")


def test_a_task_that_fails_is_in_the_last_lines(
    folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder / "data/mteb__stsbenchmark-sts/test.jsonl"
    rows = [{**json.loads(line), "score": 1.0} for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [tiny_model, "--suite", "own.yaml", "--out", "out"]
    status, _, err = in_process(*arguments, folder=folder, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"  STSBenchmark · {tiny_model.parent.name}: ") and "is NaN" in last
