"""Ctrl-C within an import ends the process; elsewhere it is the usual exception."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from matryoshka_text.cli.interrupt import end_if_importing

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


def test_an_import_that_is_interrupted_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    code = "from matryoshka_text.cli.interrupt import end_if_importing; end_if_importing(); import stubborn"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted\n")


def test_elsewhere_it_is_an_exception() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        end_if_importing()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
