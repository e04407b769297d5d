import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from matryoshka_text.cli import app
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import DataError, MtextError, RecipeError

QUICK = ("--steps", 6, "--anchors", 16)


def _mtext(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "matryoshka_text", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "faq.csv"
    path.write_text("q,a\n" + "".join(f"can the cat run {i},no it sleeps {i} times\n" for i in range(60)))
    return path


def test_rotate_writes_a_model_and_prints_the_table(tiny_model: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["rotate", tiny_model, "--texts", table, "--out", out, "--column", "q", "--column", "a", "--dims", "8,16"]
    words += [*QUICK, "--start", "pooled", "--temperature", 0.1, "--neighbours", 2, "--learning-rate", 0.01]
    words += ["--seed", 1, "--most", 110, "--max-characters", 100, "--dtype", "auto"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "faq.csv" in done.stdout and "before" in done.stdout and "The smallest dim that keeps" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(f"written to {out}: model/, rotation.safetensors")
    again = CliRunner().invoke(app, [str(word) for word in words])
    assert again.exit_code == 0
    assert again.stdout.splitlines()[-1] == f"{out}: is finished already; nothing was changed"
    assert again.stdout.splitlines()[:-1] == done.stdout.splitlines()[:-1]
    for verb in (["encode", out, table, "--column", "q", "--out", tmp_path / "v"], ["dims", out, "--texts", table]):
        found = CliRunner().invoke(
            app, [str(word) for word in [*verb, *(["--column", "q"] if verb[0] == "dims" else [])]]
        )
        assert found.exit_code == 0, found.output
    encoder = MatryoshkaEncoder(out / "model", device="cpu")
    np.testing.assert_allclose(
        np.load(tmp_path / "v/part-00000.npy")[0], encoder.encode("can the cat run 0"), atol=1e-6
    )


def test_a_dry_run_and_dims_write_nothing(
    tiny_model: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    common = [tiny_model, "--texts", table, "--column", "q", "--dims", "8,16"]
    dry = CliRunner().invoke(app, ["rotate", *map(str, common), "--dry-run", "--out", "out"])
    assert dry.exit_code == 0, dry.output
    assert dry.stdout.splitlines()[-1] == "nothing was learned or written (--dry-run)"
    dims = CliRunner().invoke(app, ["dims", *map(str, common)])
    assert dims.exit_code == 0, dims.output
    assert dims.stdout.splitlines() == dry.stdout.splitlines()[:-2]
    assert not list((tmp_path / "here").iterdir())


def test_vectors_without_a_model(tiny_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((90, 16)).astype(np.float32))
    common = ["--vectors", str(tmp_path / "v.npy")]
    out = str(tmp_path / "r.safetensors")
    for words, last in (
        (["rotate", *common, "--out", out, *map(str, QUICK)], f"written to {out}"),
        (["rotate", *common, "--out", out, *map(str, QUICK)], f"{out}: is there already, of the same vectors; "),
        (["rotate", *common, "--dry-run"], "nothing was learned or written"),
        (["dims", *common], "  v.npy"),
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1].startswith(last)


WRONG: list[tuple[list[object], str]] = [
    (["MODEL"], "--texts: found none; allowed: at least one file"),
    ([], "MODEL: found neither a model nor --vectors; allowed: MODEL with --texts, or --vectors"),
    (["MODEL", "--vectors", "v.npy"], "--vectors: found next to MODEL; allowed: MODEL with --texts, or --vectors"),
    (["--texts", "TABLE", "--vectors", "v.npy"], "--vectors: found next to --texts; allowed"),
    (["MODEL", "--texts", "TABLE", "--column", "q"], "--out: is not given; allowed: a folder"),
    (["MODEL", "--texts", "TABLE", "--out", "OUT"], "faq.csv: found no column 'text'; allowed: q, a"),
    (["MODEL", "--texts", "TABLE", "--out", "OUT", "--column", "q", "--dims", "8,x"], "--dims: found '8,x'; allowed"),
    (["MODEL", "--texts", "TABLE", "--out", "OUT", "--start", "here"], "--start is 'here'; allowed: within_source"),
    (["MODEL", "--texts", "TABLE", "--out", "OUT", "--learning-rate", "0"], "--learning-rate is 0.0; allowed"),
    (["MODEL", "--texts", "TABLE", "--out", "OUT", "--most", "0"], "--most: found 0; allowed"),
    (["MODEL", "--texts", "TABLE", "--out", "OUT", "--column", "q"], "faq.csv: found 60 different texts in all"),
    (["--vectors", "none.npy", "--out", "r.safetensors"], "none.npy: there is no such file or folder"),
]


@pytest.mark.parametrize(("words", "told"), WRONG)
def test_what_the_user_can_put_right_is_told(
    words: list[object], told: str, tiny_model: Path, table: Path, tmp_path: Path
) -> None:
    places = {"MODEL": str(tiny_model), "TABLE": str(table), "OUT": str(tmp_path / "out")}
    done = CliRunner().invoke(app, ["rotate", *(places.get(str(word), str(word)) for word in words)])
    assert isinstance(done.exception, MtextError)
    assert told in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_as_a_process_it_is_one_line_and_status_2(tiny_model: Path, table: Path, tmp_path: Path) -> None:
    done = _mtext("rotate", tiny_model, "--texts", table, "--out", tmp_path / "out")
    assert done.returncode == 2
    expected = f"error: {table}: found no column 'text'; allowed: q, a; give --column q"
    assert done.stderr.splitlines()[-1] == expected
    assert not (tmp_path / "out").exists()


def test_options_about_texts_are_refused_next_to_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32))
    for option in (["--prompt", "x"], ["--column", "a"], ["--dtype", "bf16"], ["--max-characters", "3"]):
        done = CliRunner().invoke(app, ["dims", "--vectors", str(tmp_path / "v.npy"), *option])
        assert isinstance(done.exception, RecipeError)
        assert option[0] in str(done.exception)


def test_rows_that_repeat_one_another_do_not_count(tmp_path: Path) -> None:
    few = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
    np.save(tmp_path / "v.npy", np.tile(few, (50, 1)))
    done = CliRunner().invoke(
        app, ["rotate", "--vectors", str(tmp_path / "v.npy"), "--out", str(tmp_path / "r.safetensors")]
    )
    assert isinstance(done.exception, DataError)
    assert "found 20 different vectors in all; allowed: at least 32" in str(done.exception)
    assert not (tmp_path / "r.safetensors").exists()
