"""`mtext encode` as real processes: two of them against one, killed at awkward moments, and fed through a pipe."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from matryoshka_text.encoding import open_vectors
from tests.killing import kill_when

Command = Callable[..., tuple[list[str], dict[str, str]]]


def _run(command: tuple[list[str], dict[str, str]], given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command[0], env=command[1], capture_output=True, input=given)


def _parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*.npy"))}


def _kill_when(command: tuple[list[str], dict[str, str]], reached: Callable[[], bool]) -> None:
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    kill_when(subprocess.Popen(command[0], env=command[1], **silent), reached)


@pytest.mark.slow
def test_two_processes_write_what_one_writes_bit_for_bit_and_take_over_from_it(
    command: Command, lines: Path, tmp_path: Path
) -> None:
    words = ["--dim", "8", "--rows-per-part", "30", "--precision", "int8", "--calibrate", "40", "--join"]
    one, two, both = (tmp_path / name for name in ("one", "two", "both"))
    for count, out in ((1, one), (2, two), (1, both)):
        done = _run(command(count, str(lines), "--out", str(out), *words))
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        assert done.stdout.decode().count("203 vectors of 8 dims, int8, in 7 parts") == 1
    assert len(_parts(one)) == 7
    assert _parts(two) == _parts(one)
    assert (two / "vectors.npy").read_bytes() == (one / "vectors.npy").read_bytes()
    # The number of processes may change between calls.
    for part in (1, 2, 5):
        (both / f"part-{part:05d}.npy").unlink()
    done = _run(command(2, str(lines), "--out", str(both), *words))
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert _parts(both) == _parts(one)
    one_line = [line for line in done.stderr.decode().splitlines() if "texts/s" in line]
    assert len(one_line) == 1
    assert "(process 0 of 2)" in one_line[0]


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_to_the_same_bits(command: Command, lines: Path, tmp_path: Path) -> None:
    lines.write_text(lines.read_text() * 20)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    words = ["--rows-per-part", "40", "--dtype", "bf16"]
    assert _run(command(1, str(lines), "--out", str(whole), *words)).returncode == 0
    again = command(1, str(lines), "--out", str(broken), *words)
    moments: list[Callable[[], bool]] = [
        lambda: broken.exists(),
        lambda: (broken / "encoding.json").exists(),
        lambda: any(broken.glob(".part-*")),
        lambda: len(_parts(broken)) >= 20,
    ]
    for reached in moments:
        _kill_when(again, reached)
        complete = _parts(whole)
        assert all(content == complete[name] for name, content in _parts(broken).items())
    kept = len(_parts(broken))
    assert 20 <= kept < 102
    done = _run(again)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert f"({4060 - 40 * kept:,} encoded now)" in done.stdout.decode()
    assert _parts(broken) == _parts(whole)
    assert not list(broken.glob(".*.part"))


@pytest.mark.slow
def test_standard_input(command: Command, lines: Path, tmp_path: Path) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    words = ["--rows-per-part", "50", "--precision", "int8", "--calibrate", "70"]
    assert _run(command(1, str(lines), "--out", str(file), *words)).returncode == 0
    piped = command(1, "-", "--out", str(pipe), *words)
    done = _run(piped, lines.read_bytes())
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert _parts(pipe) == _parts(file)
    assert json.loads((pipe / "encoding.json").read_text())["rows"] == 203
    np.testing.assert_array_equal(open_vectors(pipe)[:], open_vectors(file)[:])
    again = _run(piped, lines.read_bytes())
    assert again.returncode == 2
    assert "standard input cannot be read again from where that stopped" in again.stderr.decode()
    empty = _run(command(1, "-", "--out", str(tmp_path / "empty"), *words), b"")
    assert empty.returncode == 2
    assert "standard input: found no rows" in empty.stderr.decode()
    assert not (tmp_path / "empty" / "encoding.json").exists()


@pytest.mark.slow
def test_a_fault_ends_all_processes(command: Command, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "good"}\n{"text": 7}\n')
    done = _run(command(2, str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out")))
    assert done.returncode != 0
    assert "rows.jsonl:2: text (column 'text'): found 7" in done.stderr.decode()
    assert not (tmp_path / "out").exists()
