"""Exit statuses: what the user can put right is 2 and one message; a bug of ours is 1, with its traceback."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

from matryoshka_text import __version__, cli
from matryoshka_text.errors import ModelError

Run = Callable[[BaseException], tuple[int, str]]


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The exit status and stderr of a command line whose verb raises this."""

    def run(error: BaseException) -> tuple[int, str]:
        def verb() -> None:
            raise error

        monkeypatch.setattr(cli, "app", verb)
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    return run


def test_what_the_user_can_put_right_is_2_and_one_message(raised: Run) -> None:
    assert raised(ModelError("no such model; give another")) == (2, "error: no such model; give another\n")


@pytest.mark.parametrize(
    "error",
    [
        TypeError("'NoneType' object is not subscriptable"),
        AttributeError("no attribute 'dims'"),
        ValueError("axes don't match"),
        MemoryError(),
        AssertionError(),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "run/part-00003"),
        OSError("from a library"),
    ],
)
def test_a_bug_is_1_with_its_traceback_and_a_request_to_report_it(raised: Run, error: Exception) -> None:
    status, said = raised(error)
    assert status == 1
    assert "Traceback (most recent call last)" in said
    assert type(error).__name__ in said
    assert "report it" in said
    for part in (f"matryoshka-text {__version__}", f"Python {sys.version.split()[0]}", "torch 2", "mteb 2"):
        assert part in said


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_a_disk_that_cannot_be_written_is_the_users_to_mend(raised: Run, number: int) -> None:
    assert raised(OSError(number, "cannot be", "/out")) == (
        2,
        "error: /out: cannot be; mend that, or give another place with --out\n",
    )


AGAIN = "run the same command again to go on (`mtext train`: with --resume)"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_with_the_way_on(raised: Run, number: int) -> None:
    said = f"{os.strerror(number)}; free some space and {AGAIN}, or give another place with --out\n"
    assert raised(OSError(number, os.strerror(number), "/out/x")) == (2, f"error: /out/x: {said}")
    # What safetensors and tokenizers, which are written in Rust, say of it.
    words = f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})"
    assert raised(SafetensorError(words)) == (2, f"error: {said}")
    assert raised(Exception(words)) == (2, f"error: {said}")
    # A library's own error in place of the system's.
    hidden = ValueError("cannot save")
    hidden.__context__ = OSError(number, os.strerror(number))
    assert raised(hidden) == (2, f"error: {said}")


def test_a_bug_next_to_a_file_that_was_there_is_a_bug(raised: Run) -> None:
    bug = KeyError("dims")
    bug.__context__ = FileExistsError(errno.EEXIST, "File exists")
    assert raised(bug)[0] == 1


def test_a_disk_that_is_full_inside_safetensors(tmp_path: Path) -> None:
    """The library itself, in a process that may write 4 kB a file."""
    code = f"""
import resource, torch
from safetensors.torch import save_file
from matryoshka_text import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
cli.app = lambda: save_file({{"a": torch.zeros(4096)}}, {str(tmp_path / "a.safetensors")!r})
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[0].split(";")[0]) == (2, "error: File too large")


def test_ctrl_c_is_130(raised: Run) -> None:
    assert raised(KeyboardInterrupt()) == (130, f"interrupted; {AGAIN}\n")


@pytest.mark.parametrize("turned_into", [RecursionError("maximum recursion depth"), SystemExit(130), SystemExit(1)])
def test_ctrl_c_that_a_library_turns_into_another_error_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], turned_into: BaseException
) -> None:
    def verb() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise turned_into from None

    monkeypatch.setattr(cli, "app", verb)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == f"interrupted; {AGAIN}\n"


@pytest.mark.parametrize(("given", "expected"), [({}, ["PASSIVE", "0"]), ({"GOMP_SPINCOUNT": "9"}, ["PASSIVE", "9"])])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(
    given: dict[str, str], expected: list[str]
) -> None:
    code = """
import os, sys
from matryoshka_text import cli
def verb():
    assert "torch" not in sys.modules
    print(os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"])
cli.app = verb
cli.main()
"""
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], env=clean | given, capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected
