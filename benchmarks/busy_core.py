"""Seconds of a training step with every core free, and with one taken by another program, by how threads wait.

    python benchmarks/busy_core.py

`mtext train` runs once for each way of waiting, as a process with two threads: half of its steps with the machine to
itself, half next to a program that keeps one core busy. OpenMP reads how to wait when it is loaded, so that each way
is a process of its own. The losses of all ways with as many threads have to be the same to the last bit.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import machine, table

STEPS, FIRST = 12, 3
WAYS = {
    "sleep at once (what mtext sets)": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
    "spin 1,000 times": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"},
    "spin 10,000 times": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"},
    "OpenMP's own, 300,000 times": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "300000"},
    "one thread": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": "1"},
}
RECIPE = """name: busy
base: {model: sentence-transformers/all-MiniLM-L6-v2}
dims: [12, 24, 48, 96, 192, 384]
data: [{name: nli, file: pairs/nli.jsonl.gz, kind: pairs}]
objectives: [{kind: info_nce}]
batch: {size: 32, max_length: 64}
stopping: {steps: %d}
precision: float32
folder: %s
"""


def main() -> None:
    """Measure every way and print the table."""
    rows, losses = [], {}
    for name, settings in WAYS.items():
        quiet, busy, losses[name] = _measured({**os.environ, "OMP_NUM_THREADS": "2", **settings})
        rows.append([name, f"{quiet:.2f}", f"{busy:.2f}", f"{busy / quiet:.2f}"])
    assert len({loss for name, loss in losses.items() if name != "one thread"}) == 1, losses
    print(machine())
    print(table(["waiting", "s a step, free", "s a step, one core taken", "ratio (bar: <= 2.0)"], rows))


def _measured(settings: dict[str, str]) -> tuple[float, float, str]:
    """Median seconds of a step, free and next to a busy core, and the losses."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "r.yaml").write_text(RECIPE % (2 * STEPS, Path(__file__).parents[1] / "recipes" / "data"))
        command = [sys.executable, "-m", "matryoshka_text", "train", str(folder / "r.yaml"), "--out", str(folder / "o")]
        metrics, other, seen = folder / "o" / "metrics.jsonl", None, []
        with subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            while run.poll() is None:
                seen = metrics.read_text().splitlines() if metrics.exists() else []
                if len(seen) >= STEPS and other is None:
                    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
                time.sleep(0.01)
        if other is not None:
            other.kill()
            other.wait()
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    seconds = [32 / line["pairs_per_second"] for line in lines]
    free, busy = seconds[FIRST:STEPS], seconds[STEPS + 1 :]
    return statistics.median(free), statistics.median(busy), str([line["loss"] for line in lines])


if __name__ == "__main__":
    main()
