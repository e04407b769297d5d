"""Ctrl-C and SIGTERM: within an import they end the process; elsewhere they are an exception that is remembered."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from matryoshka_text.cli.interrupt import AGAIN, interruptions, status_of

# What a library does that looks for an optional part: whatever happens, it goes on.
STUBBORN = """
import time
print("importing", flush=True)
while True:
    try:
        time.sleep(30)
    except BaseException:
        pass
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_import_that_is_interrupted_ends_the_process(tmp_path: Path, number: int, status: int) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    code = "from matryoshka_text.cli.interrupt import interruptions\nwith interruptions(): import stubborn"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (status, f"interrupted; {AGAIN}\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_elsewhere_it_is_an_exception(number: int, status: int) -> None:
    before = signal.getsignal(number)
    with interruptions() as seen, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert status_of(seen) == status
    assert signal.getsignal(number) == before
