import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from matryoshka_text.cli import app


def _mtext(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "matryoshka_text", "encode", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("n,sentence\n" + "".join(f"{i},the cat number {i}\n" for i in range(30)))
    return tmp_path / "rows.csv"


def test_encode_writes_vectors_and_says_so(
    tiny_model: Path, sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = ["encode", tiny_model, sentences, sentences, "--out", out, "--column", "sentence", "--dim", 8]
    words += ["--layers", 1, "--dtype", "bf16", "--precision", "float16", "--prompt", "my ", "--rows-per-part", 25]
    words += ["--batch-tokens", 100, "--join"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "60 vectors of 8 dims, float16, in 3 parts" in done.output
    joined = np.load(out / "vectors.npy")
    assert (joined.shape, joined.dtype) == ((60, 8), np.float16)
    np.testing.assert_array_equal(joined[:30], joined[30:])


def test_one_bit_is_called_binary_as_in_eval(tiny_model: Path, sentences: Path, tmp_path: Path) -> None:
    for word in ("binary", "ubinary"):
        words = ["encode", tiny_model, sentences, "--out", tmp_path / word, "--column", "sentence", "--precision", word]
        done = CliRunner().invoke(app, [str(one) for one in words])
        assert done.exit_code == 0, done.output
    one, other = (np.load(tmp_path / word / "part-00000.npy") for word in ("binary", "ubinary"))
    assert (one.shape, one.dtype) == ((30, 4), np.uint8)
    np.testing.assert_array_equal(one, other)


def test_what_the_user_can_put_right_is_one_line_and_status_2(
    tiny_model: Path, sentences: Path, tmp_path: Path
) -> None:
    done = _mtext(tiny_model, sentences, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: {sentences}: found no column 'text'; allowed: n, sentence; give --column n"
    )
    assert not (tmp_path / "out").exists()
    done = _mtext(tiny_model, sentences)
    assert done.returncode == 2
    assert "--out" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tiny_model: Path, sentences: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = _mtext(tiny_model, sentences, "--column", "sentence", "--out", tmp_path / "locked" / "out")
    assert done.returncode == 2
    assert "cannot be written (Permission denied); give another folder with --out" in done.stderr


def test_a_file_where_the_folder_should_be_made(tiny_model: Path, sentences: Path) -> None:
    done = _mtext(tiny_model, sentences, "--column", "sentence", "--out", sentences / "out")
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
