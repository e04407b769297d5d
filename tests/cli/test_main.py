"""Exit statuses: what the user can put right is 2 and one message; a bug of ours is 1, with its traceback."""

import errno
import sys
from collections.abc import Callable

import pytest

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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOTDIR])
def test_a_disk_that_cannot_be_written_is_the_users_to_mend(raised: Run, number: int) -> None:
    assert raised(OSError(number, "cannot be", "/out")) == (
        2,
        "error: /out: cannot be; mend that, or give another place with --out\n",
    )


def test_ctrl_c_is_130(raised: Run) -> None:
    assert raised(KeyboardInterrupt()) == (130, "interrupted\n")
