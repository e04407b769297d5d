"""`make attack`: every attack in turn until the minutes are over; `SEED=`, `MINUTES=`, `CASE=kind:seed`."""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("MPLBACKEND", "agg")
# Cases of a turn; one where nothing is said. Those that start several processes take longest.
_OFTEN = {"recipes": 10, "tables": 4, "models": 3, "states": 2, "indexes": 4}


def main() -> int:
    """0 if no case failed."""
    parser = argparse.ArgumentParser(prog="make attack")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; a case is known by its kind and seed")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--case", action="append", default=[], metavar="KIND:SEED[-LAST]", help="only these")
    parser.add_argument("--out", type=Path, default=Path("attack-failures"), help="where failing inputs are kept")
    given = parser.parse_args()

    import_everything()
    from tests.attack.attack import ATTACKS, Tally, attack, note, report
    from tests.attack.world import make_world

    out = given.out.resolve()
    world, tally = make_world(out / "world"), Tally()
    for kind, seed in chosen(given.case) if given.case else turns(given.seed, list(ATTACKS), given.minutes):
        what, found = attack(kind, seed, world, out)
        note(tally, kind, what, found, f"{kind}:{seed}")
        if found is not None or given.case:
            sys.stdout.write(f"{kind}:{seed} {what}: {found or 'ok'}\n".encode("ascii", "backslashreplace").decode())
            sys.stdout.flush()
    sys.stdout.write(f"\n{report(tally)}\n".encode("utf-8", "backslashreplace").decode())
    return 1 if tally.faults else 0


def import_everything() -> None:
    """All that a verb imports, before the first fork; nothing here may start a thread."""
    import matryoshka_text.cli
    import matryoshka_text.doctor
    import matryoshka_text.encoding
    import matryoshka_text.evaluation.harness
    import matryoshka_text.evaluation.report.write
    import matryoshka_text.rotating
    import matryoshka_text.search
    import matryoshka_text.training  # noqa: F401


def chosen(cases: list[str]) -> list[tuple[str, int]]:
    """kind:3 and kind:3-9 as pairs."""
    found = []
    for case in cases:
        kind, _, seeds = case.partition(":")
        first, _, last = seeds.partition("-")
        found += [(kind, seed) for seed in range(int(first), int(last or first) + 1)]
    return found


def turns(seed: int, kinds: list[str], minutes: float) -> Iterator[tuple[str, int]]:
    """Kinds in turn, those of many cheap cases more often, until the time is over. Seeds of two `seed`s never meet."""
    began = time.monotonic()
    for turn in itertools.count():
        for kind in kinds:
            often = _OFTEN.get(kind, 1)
            for number in range(often):
                if time.monotonic() - began > 60 * minutes:
                    return
                yield kind, seed * 1_000_000 + turn * often + number


if __name__ == "__main__":
    sys.exit(main())
