"""Killing a program at a chosen moment, however slow the machine is."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

import psutil

# Of its own processor time a program here needs a tenth of this. Other programs on the machine do not count.
MOST_SECONDS = 300
# It waits for nobody: one that used no processor for so long will never go on.
IDLE_SECONDS = 120


def kill_when(process: "subprocess.Popen[Any]", reached: Callable[[], bool]) -> None:
    """End `process` and those it started with SIGKILL once `reached`, which has to be before its end.

    The wait goes on as long as the program makes progress.
    """
    program = psutil.Process(process.pid)
    try:
        used, since = 0.0, time.monotonic()
        while not reached():
            assert process.poll() is None, f"it ended before it could be killed: {process.communicate()}"
            now = _seconds(program)
            if now > used:
                used, since = now, time.monotonic()
            assert used < MOST_SECONDS, f"not reached in {used:.0f} seconds of processor time"
            assert time.monotonic() - since < IDLE_SECONDS, "it waits for something that does not come"
            time.sleep(0.002)
    finally:
        # The launcher first: it would end the others in its own way once one of them is gone.
        for one in (program, *program.children(recursive=True)) if process.poll() is None else ():
            one.kill()
        process.communicate()


def _seconds(program: psutil.Process) -> float:
    total = 0.0
    for one in (program, *program.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
