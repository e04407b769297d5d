"""How many functions of ours stand between a command and the work: a reader has to walk through each of them."""

import sys
from pathlib import Path
from typing import Any

import pytest

import matryoshka_text

HOME = str(Path(matryoshka_text.__file__).parent)


def ours() -> list[str]:
    """The functions of ours that are running, the outermost first; a comprehension is part of its function."""
    found, frame = [], sys._getframe(1)
    while frame.f_back is not None:
        code, frame = frame.f_code, frame.f_back
        if code.co_filename.startswith(HOME) and not code.co_name.endswith(("comp>", "expr>")):
            found.append(f"{Path(code.co_filename).stem}.{code.co_qualname}")
    return found[::-1]


def watched(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[list[str]]:
    """What of ours is running at every call of `owner.name`, filled as it is called."""
    calls: list[list[str]] = []
    original = getattr(owner, name)

    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append(ours())
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, noted)
    return calls


def deepest(calls: list[list[str]], through: str) -> list[str]:
    """The longest way among the calls that came through this function."""
    return max((one for one in calls if through in one), key=len)
