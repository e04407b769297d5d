"""The attacks by name, one case run, and the failing ones kept."""

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.attack.case import Generator, fault, fault_of_doctor
from tests.attack.forked import run
from tests.attack.indexes import indexes
from tests.attack.models import models
from tests.attack.processes import disks, kills, races, signals, unmount
from tests.attack.recipes import recipes
from tests.attack.states import states
from tests.attack.tables import tables
from tests.attack.world import World

ATTACKS: dict[str, Generator] = {
    "recipes": recipes,
    "tables": tables,
    "models": models,
    "states": states,
    "indexes": indexes,
    "kills": kills,
    "disks": disks,
    "races": races,
    "signals": signals,
}


@dataclass
class Tally:
    """How many cases of each attack were run, and the faults by kind."""

    cases: Counter[str] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str], str] = field(default_factory=dict)


def attack(kind: str, seed: int, world: World, home: Path) -> tuple[str, str | None]:
    """What the case of that kind and seed is, and its fault if it has one; the folder of one without is removed."""
    folder = home / f"{kind}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case = ATTACKS[kind](Random(f"{kind} {seed}"), world, folder)
    outcomes = []
    for words in case.commands:
        outcomes.append(run(words, folder))
        if outcomes[-1].status != 0:
            break
    try:
        found = fault(case, outcomes, folder)
    except (OSError, ValueError, KeyError) as error:
        found = f"the results cannot be read: {type(error).__name__}: {error}"
    if found is None and case.doctor is not None:
        seen = run(["doctor", case.doctor], folder)
        if found := fault_of_doctor(seen, outcomes[-1]):
            outcomes.append(seen)
    unmount(folder)
    if found is None:
        shutil.rmtree(folder)
    else:
        commands = "\n".join("mtext " + " ".join(words) for words in case.commands[: len(outcomes)])
        said = "\n".join(outcome.said[-4000:] for outcome in outcomes)
        (folder / "fault.txt").write_text(
            f"{case.what}\n{found}\n\n{commands}\n\nmake attack CASE={kind}:{seed}\n\n{said}", errors="surrogateescape"
        )
    return case.what, found


def note(tally: Tally, kind: str, what: str, found: str | None, where: str) -> None:
    """Count a case."""
    tally.cases[kind] += 1
    if found is not None:
        key = (kind, found.splitlines()[0])
        tally.faults[key] += 1
        tally.first.setdefault(key, f"{what}  [{where}]")


def report(tally: Tally) -> str:
    """Counts by attack, then by kind of fault."""
    lines = [f"{kind:<8} {count:>6,} cases" for kind, count in tally.cases.items()]
    lines.append(f"{sum(tally.faults.values()):,} faults of {len(tally.faults)} kinds")
    for (kind, found), count in tally.faults.most_common():
        lines += [f"{count:>5} {kind}: {found}", f"        {json.dumps(tally.first[kind, found], ensure_ascii=False)}"]
    return "\n".join(lines)
