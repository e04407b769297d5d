"""One attack: an input, the commands that meet it, what must come of them, and the verdict."""

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from tests.attack.forked import BYTES, Outcome
from tests.attack.world import World

Must = Literal["refuse", "accept", "any"]
FLOOD = 100_000

# Values that no author of a form thinks of.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, -3, 2**31, 2**63, 10**30, 0.5, -0.5, 1e-308, 1e308, float("nan"), float("inf")),
    *("", " ", "x", "\0", "../..", "/", "~nosuch/x", "0", "1e5", "٣", "nan", "\ud7ff", "é" * 3000, "a/b/c", "%s{0}"),
    *([], {}, [[]], [None], [-1], ["a", "a"], {"x": {}}, [[[[[[[[]]]]]]]], {"": None}, list(range(1000))),
)


def odd(rng: Random) -> Any:
    """One of them, which the caller may change."""
    return deepcopy(rng.choice(ODD))


@dataclass
class Case:
    """`commands` in order; the first that fails or is refused ends it. `after` looks at the folder once all is done."""

    what: str
    commands: list[list[str]]
    must: Must = "any"
    after: Callable[[Outcome], str | None] | None = None
    outputs: list[str] = field(default_factory=list)
    # Refused by a later command although the first took it for good.
    late: bool = False
    # Looks at the same things once the rest is over; says so too if they were refused.
    doctor: str | None = None


Generator = Callable[[Random, World, Path], Case]


def fault(case: Case, outcomes: list[Outcome], folder: Path) -> str | None:
    """What is wrong with these outcomes, in words that are alike for alike faults; None if nothing is."""
    last = outcomes[-1]
    if found := broken(last):
        return found
    if case.must == "refuse" and last.status == 0:
        return "accepted what is meaningless"
    if case.must == "accept" and last.status != 0:
        return f"refused what is right: {_first(last.said)}"
    if last.status == 2:
        if case.late and len(outcomes) > 2:
            return f"passed the dry run, then: {_first(last.said)}"
        if left := litter(case, case.commands[len(outcomes) - 1], folder):
            return f"refused, and left {left}"
        return None
    if last.status != 0:
        return f"exit {last.status}"
    return case.after(last) if case.after is not None else None


def fault_of_doctor(seen: Outcome, last: Outcome) -> str | None:
    """What is wrong with `mtext doctor` on what `last` has met."""
    if found := broken(seen):
        return f"doctor: {found}"
    if seen.status not in (0, 2):
        return f"doctor: exit {seen.status}"
    if hidden := re.search(r"could\s+not\s+be\s+looked\s+at\s+\((\w+)", seen.said):
        return f"doctor: a hidden {hidden[1]}"
    return "doctor: finds nothing wrong with what is refused" if last.status == 2 and seen.status == 0 else None


def broken(outcome: Outcome) -> str | None:
    """What no command may do, whatever it is given."""
    if outcome.hung:
        return "hang"
    if outcome.memory > BYTES:
        return "memory"
    if outcome.status == 1 or "Traceback (most recent call last)" in outcome.said:
        return f"traceback: {_traceback(outcome.said)}"
    if outcome.status < 0:
        return f"ended by signal {-outcome.status}"
    if len(outcome.said) > FLOOD:
        return "a flood of words"
    return None


def litter(case: Case, refused: list[str], folder: Path) -> str | None:
    """What the refused command left in its place: a folder with anything but a lock."""
    for name in case.outputs:
        if name in refused and (folder / name).is_dir():
            left = sorted(file.name for file in (folder / name).rglob("*") if file.name != ".lock")
            if left:
                return f"{name}/{left[0]}"
    return None


def _first(said: str) -> str:
    return re.sub(r"/\S+", "…", next((line for line in said.splitlines() if line.strip()), ""))[:120]


def _traceback(said: str) -> str:
    """The exception's type and the last of our own lines that it passed."""
    ours = re.findall(r'File "[^"]*matryoshka_text/([^"]+)", line (\d+)', said)
    kinds = re.findall(r"^([A-Za-z_.]+(?:Error|Exception|Warning|Interrupt|Exit)[A-Za-z]*)\b", said, re.MULTILINE)
    return f"{kinds[-1] if kinds else '?'} at {':'.join(ours[-1]) if ours else '?'}"
