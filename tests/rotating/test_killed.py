"""`mtext rotate` killed with SIGKILL while it encodes, learns and writes: the same command comes to the same bits."""

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.killing import kill_when

Command = Callable[..., tuple[list[str], dict[str, str]]]


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    rng = random.Random(0)
    vocabulary = "cat dog bank card money street guitar red blue woman man playing running house picture".split()
    for name in ("a", "b"):
        texts = [f"{name} {number} " + " ".join(rng.choices(vocabulary, k=12)) for number in range(1500)]
        (tmp_path / f"{name}.txt").write_text("\n".join(texts))
    files = ["--texts", tmp_path / "a.txt", "--texts", tmp_path / "b.txt"]
    return [*files, "--steps", "150", "--anchors", "16"]


def _kill_when(command: tuple[list[str], dict[str, str]], reached: Callable[[], bool]) -> None:
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    kill_when(subprocess.Popen(command[0], env=command[1], **silent), reached)


def _finish(command: tuple[list[str], dict[str, str]]) -> str:
    done = subprocess.run(command[0], env=command[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file but the record, which has times in it, and the card, which has the folder's name."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = {str(path.relative_to(folder)): path for path in files}
    return {name: p.read_bytes() for name, p in names.items() if name not in ("rotation.json", "model/README.md")}


def _record(folder: Path) -> dict[str, object]:
    record = json.loads((folder / "rotation.json").read_text())
    return {key: value for key, value in record.items() if key not in ("started", "finished")}


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_to_the_same_bits(command: Command, words: list[object], tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _finish(command(*words, "--out", whole))
    again = command(*words, "--out", broken)
    metrics, vectors = broken / "metrics.jsonl", broken / "vectors"

    def steps(least: int) -> bool:
        return metrics.exists() and metrics.read_bytes().count(b'"loss"') >= least

    moments: list[Callable[[], bool]] = [
        lambda: len(list(vectors.glob("*.safetensors"))) >= 2,
        lambda: steps(40),
        lambda: (broken / "rotation.safetensors").exists(),
    ]
    seen: dict[str, int] = {}
    for number, reached in enumerate(moments):
        metrics.unlink(missing_ok=True)
        _kill_when(again, reached)
        if number < len(moments) - 1:
            assert not (broken / "model").exists() and not (broken / "rotation.safetensors").exists()
        shards = {path.name: path.stat().st_mtime_ns for path in vectors.glob("*.safetensors")}
        # What was encoded before the last kill was not encoded again.
        assert seen.items() <= shards.items()
        seen = shards
    _finish(again)
    assert {path.name: path.stat().st_mtime_ns for path in vectors.glob("*.safetensors")} == seen
    assert _contents(broken) == _contents(whole)
    assert {"rotation.safetensors", "model/model.safetensors", "metrics.jsonl", "table.txt"} <= set(_contents(whole))
    assert _record(broken) == _record(whole)
    assert not list(broken.rglob(".*.part"))
