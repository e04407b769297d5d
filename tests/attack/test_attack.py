"""The short form of `make attack`: seeds that are known, in one process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = (
    *("recipes:0-30", "tables:0-2", "tables:7-8", "models:0", "models:2", "models:6-8", "states:0", "states:2-3"),
    *("states:6-7", "indexes:62", "indexes:64", "indexes:82", "kills:1", "kills:3-4", "disks:1", "disks:2", "races:1"),
    *("signals:1", "signals:4"),
)


@pytest.mark.slow
def test_known_seeds(repo: Path, tmp_path: Path) -> None:
    words = [word for case in CASES for word in ("--case", case)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.attack", "--out", str(tmp_path), *words],
        cwd=repo,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(repo), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


@pytest.mark.parametrize(
    ("said", "status", "found"),
    [
        ("error: x\n", 2, None),
        ("", 0, "accepted what is meaningless"),
        ('File "/a/matryoshka_text/files.py", line 7\nValueError: x\n', 1, "traceback: ValueError at files.py:7"),
        ("", -11, "ended by signal 11"),
        ("x" * 200_000, 2, "a flood of words"),
        ("", 3, "exit 3"),
    ],
)
def test_verdicts(said: str, status: int, found: str | None, tmp_path: Path) -> None:
    from tests.attack.case import Case, fault
    from tests.attack.forked import Outcome

    assert fault(Case("x", [["check"]], "refuse"), [Outcome(status, said, 1.0, 0)], tmp_path) == found


def test_litter_of_what_was_refused(tmp_path: Path) -> None:
    from tests.attack.case import Case, fault
    from tests.attack.forked import Outcome

    (tmp_path / "o").mkdir()
    (tmp_path / "o" / ".lock").touch()
    case, refused = Case("x", [["encode", "--out", "o"]], outputs=["o"]), [Outcome(2, "error: x", 1.0, 0)]
    assert fault(case, refused, tmp_path) is None
    (tmp_path / "o" / "encoding.json").touch()
    assert fault(case, refused, tmp_path) == "refused, and left o/encoding.json"


def test_results_are_compared_but_for_dates_and_seconds() -> None:
    from tests.attack.trees import Reference

    first = {"rows.jsonl": b'{"score": 1, "date": 1}\n', "w": b"\0"}
    reference = Reference(first, {**first, "rows.jsonl": b'{"score": 1, "date": 2}\n'})
    assert reference.difference({**first, "rows.jsonl": b'{"score": 1, "date": 3}\n'}) is None
    assert reference.difference({**first, "rows.jsonl": b'{"score": 2, "date": 1}\n'}) == "differs: rows.jsonl (score)"
    assert reference.difference({**first, "w": b"\1"}) == "differs: w"
    assert reference.difference({"w": b"\0"}) == "missing: rows.jsonl"
    assert reference.difference({**first, ".x.part": b""}) == "left over: .x.part"
