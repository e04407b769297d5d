"""What the benchmarks share: the machine in a line, memory seen from outside, interleaved timing, tables."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "accelerate",
    "triton",
    "liger-kernel",
    "cut-cross-entropy",
)


def machine(device: str = "cpu") -> str:
    """Processor or GPU, threads, versions, commit and load, in one line for the head of a table."""
    where = torch.cuda.get_device_name() if device.startswith("cuda") else processor()
    found = ", ".join(f"{name} {number}" for name in PACKAGES if (number := _version(name)))
    load = os.getloadavg()[0]
    return f"{where}; {torch.get_num_threads()} threads; {found}; commit {commit()}; load average {load:.2f}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str:
    """The checkout's commit, "+" behind it where the sources differ from it."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "--short", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", "../src", ".")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(where: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, check=True).stdout.strip()


def processor() -> str:
    """The model name of the processor, as the system gives it."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine()
    found = {key.strip(): value.strip() for key, _, value in (s.partition(":") for s in path.read_text().splitlines())}
    name = found.get("model name", platform.machine())
    return f"{name}, family {found.get('cpu family')}, model {found.get('model')}"


def resident_peak() -> float:
    """The largest resident size of this process since the last `reset_resident_peak`, in MiB."""
    if STATUS.exists():
        # Not ru_maxrss: Linux hands a parent's peak down to the process it starts.
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def reset_resident_peak() -> None:
    """Bring the recorded peak down to the present size, if the system can (Linux, see proc_pid_clear_refs)."""
    if CLEAR.exists():
        CLEAR.write_text("5")


def in_own_process(script: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Any:
    """What `script` prints as JSON in its last line: a peak of memory can only be read in a fresh process."""
    command = [sys.executable, str(Path(script).resolve()), *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **(environment or {})}
    )
    return json.loads(done.stdout.splitlines()[-1])


def interleaved(steps: Mapping[str, Callable[[], object]], seconds: float, *, least: int = 5) -> dict[str, list[float]]:
    """Seconds of each repetition of each step, in turns, so that a disturbance hits all; each runs once before."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, taken.values())) < least:
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - start)
    return taken


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def whole_numbers(text: str) -> tuple[int, ...]:
    """Numbers separated by commas."""
    return tuple(int(part) for part in text.split(","))
