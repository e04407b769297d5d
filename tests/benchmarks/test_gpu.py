"""benchmarks/gpu.sh on a CPU, and what it makes of the benchmarks' output."""

import importlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

OUTPUT = """machine of some kind

| variant | median s |
| --- | --- |
| loop | 1.5 |
| ours | 0.3 |

bar time <= 0.2 x loop: 0.200, met
bar memory <= 0.05 x loop: 0.071, not met
bar time <= 1.5 x one: open, nothing to compare with
"""


@pytest.fixture(scope="module")
def gpu(repo: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repo / "benchmarks"))
        yield importlib.import_module("gpu")


def test_tables_and_bars_are_taken_out_of_what_is_printed(gpu: Any) -> None:
    assert gpu.tables_in(OUTPUT) == [{"head": ["variant", "median s"], "rows": [["loop", "1.5"], ["ours", "0.3"]]}]
    assert [bar.rpartition(" x ")[2] for bar in gpu.bars_in(OUTPUT)] == [
        "loop: 0.200, met",
        "loop: 0.071, not met",
        "one: open, nothing to compare with",
    ]


def test_every_step_is_a_command_that_its_benchmark_understands(gpu: Any, repo: Path) -> None:
    for step in gpu.STEPS:
        assert "BASE" not in gpu.command_of(step, Path("model"), tiny=False)
        script = gpu.command_of(step, Path("model"), tiny=True)[1]
        assert script == "-m" or Path(script).is_file()
    assert sum(step.most for step in gpu.STEPS[:4]) <= 600


def test_only_wheels_of_missing_packages_are_used(gpu: Any, tmp_path: Path) -> None:
    for name in ("torch-1.0-py3-none-any.whl", "no_such_thing-1.0-py3-none-any.whl"):
        with zipfile.ZipFile(tmp_path / name, "w") as wheel:
            wheel.writestr(f"{name.split('-')[0]}/__init__.py", "")
    assert gpu.unpack_missing(tmp_path, tmp_path / "site") == ["no_such_thing-1.0-py3-none-any.whl"]
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["no_such_thing"]


def test_a_step_is_ended_with_its_processes_when_its_time_is_over(gpu: Any) -> None:
    code = "import subprocess, sys; print('begun', flush=True); subprocess.run(['sleep', '600'])"
    done = gpu.run(gpu.STEPS[0], [sys.executable, "-c", code], 3.0, dict(os.environ))
    assert (done.status, done.said) == ("out of time after 3 s", "begun\n")
    assert done.seconds < 60


def test_a_failing_step_is_told_and_the_others_are_kept(gpu: Any, tmp_path: Path) -> None:
    failed = gpu.run(gpu.STEPS[0], [sys.executable, "-c", "raise SystemExit(3)"], 60.0, dict(os.environ))
    good = gpu.run(gpu.STEPS[1], [sys.executable, "-c", f"print({OUTPUT!r})"], 60.0, dict(os.environ))
    gpu.write(tmp_path, {"device": "none"}, [failed, good])
    stored = json.loads((tmp_path / "results.json").read_text())
    assert [step["status"] for step in stored["steps"]] == ["failed with exit status 3", "ok"]
    assert "- infonce: bar time <= 0.2 x loop: 0.200, met" in (tmp_path / "table.md").read_text()
    assert "| loop | 1.5 |" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_it_runs_on_a_cpu_with_tiny_sizes(repo: Path, tmp_path: Path) -> None:
    out, script = tmp_path / "out", repo / "benchmarks" / "gpu.sh"
    command = ["bash", str(script), str(out), "--tiny", "--steps", "infonce,encoding"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    stored = json.loads((out / "results.json").read_text())
    assert [step["status"] for step in stored["steps"]] == ["ok", "ok"]
    assert all(step["tables"] for step in stored["steps"])
    assert {path.name for path in out.iterdir()} == {"results.json", "table.md", "log.txt"}
