"""The four jobs that write folders, their undisturbed results, and their folders as a kill leaves them."""

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.attack.forked import run
from tests.attack.trees import Reference, contents
from tests.attack.world import World

JOBS = ("train", "encode", "rotate", "eval")
# Vectors are a cache, and what an evaluation cost (seconds, texts encoded or found) is another after a break.
_LEFT_OUT = {"eval": ("vectors/", "report.html", "results.md", "table.txt", "cost", "curve.", "run.json", "stages")}


@dataclass(frozen=True)
class Job:
    """A command that writes to the folder `out` of where it runs."""

    name: str
    world: World

    def words(self, *, again: bool = False) -> list[str]:
        """The command; `again` goes on with what is there."""
        home = self.world.home
        return {
            "train": ["train", str(home / "pairs.yaml"), "--out", "out", *(["--resume"] if again else [])],
            "encode": [
                "encode",
                str(self.world.model),
                str(home / "texts.txt"),
                "--out",
                "out",
                "--rows-per-part",
                "16",
            ],
            "rotate": [
                *("rotate", str(self.world.model), "--texts", str(home / "pairs.jsonl"), "--column", "anchor"),
                *("--dims", "4,8,32", "--out", "out", "--steps", "5"),
            ],
            "eval": [
                *("eval", str(self.world.model), "--task", "classification:places", "--dims", "8,32"),
                *("--data-root", str(home / "root"), "--out", "out"),
            ],
        }[self.name]

    def kept(self, folder: Path) -> dict[str, bytes]:
        """The files that a reader reads."""
        left_out = _LEFT_OUT.get(self.name, ())
        return {name: found for name, found in contents(folder / "out").items() if not name.startswith(left_out)}

    @property
    def reference(self) -> Reference:
        """Its undisturbed result."""
        return _reference(self)

    @property
    def finished(self) -> Path:
        """A folder in which `out` is finished."""
        _ = self.reference
        return self.world.home / f"{self.name}-1"


@cache
def _reference(job: Job) -> Reference:
    found = []
    for number in (1, 2):
        folder = job.world.home / f"{job.name}-{number}"
        if not (folder / "finished").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            outcome = run(job.words(), folder)
            assert outcome.status == 0, f"{job.name}: {outcome.said}"
            (folder / "finished").write_text(str(outcome.seconds))
        found.append(job.kept(folder))
    return Reference(*found)


def litter_of(folder: Path) -> str | None:
    """A half-written file or folder that is still there."""
    parts = [file for pattern in (".*.part", ".*.old", "*.tmp") for file in folder.rglob(pattern)]
    return f"left half written: {parts[0].name}" if parts else None
