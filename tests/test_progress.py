"""What is logged if nobody watches a bar."""

import logging

import pytest

from matryoshka_text import progress
from matryoshka_text.progress import Progress


def test_the_last_line_says_how_much_and_how_fast(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="matryoshka_text")
    with Progress("learning", "steps", 3, shown=True) as bar:
        bar(2)
        bar.note = "loss 0.5"
        bar(1)
    (line,) = caplog.messages
    assert line.startswith("learning: 3 of 3 steps, ")
    assert line.endswith(" steps/s, loss 0.5")


def test_lines_come_now_and_then(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    caplog.set_level(logging.INFO, logger="matryoshka_text")
    with Progress("encoding", "texts", shown=True) as bar:
        bar.reached(10, 40)
        bar.reached(40, 40)
    assert [line.split(" texts")[0] for line in caplog.messages] == [
        "encoding: 10 of 40",
        "encoding: 40 of 40",
        "encoding: 40 of 40",
    ]


def test_nothing_is_told_if_nothing_is_to_be_shown_or_the_block_fails(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="matryoshka_text")
    with Progress("encoding", "texts", shown=False) as bar:
        bar(3)
    with pytest.raises(ValueError, match="broken"), Progress("encoding", "texts", shown=True) as bar:
        bar(3)
        raise ValueError("broken")
    assert caplog.messages == []
