"""The jobs that write folders, their undisturbed results, and their folders as a kill leaves them."""

import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.attack.forked import run
from tests.attack.trees import Reference, contents
from tests.attack.world import World

JOBS = ("train", "encode", "rotate", "eval", "index", "tune")
# Vectors are a cache, and what an evaluation cost (seconds, texts encoded or found) is another after a break. The tuner
# measures times, so its plan is another each time.
_LEFT_OUT = {
    "eval": ("vectors/", "report.html", "results.md", "table.txt", "cost", "curve.", "run.json", "stages"),
    "tune": ("index.json", "flat-"),
}


@dataclass(frozen=True)
class Job:
    """A command that writes to the folder `out` of where it runs."""

    name: str
    world: World
    # The same command about something else: it must not mix with this one.
    other: bool = False

    def words(self, *, again: bool = False) -> list[str]:
        """The command; `again` goes on with what is there."""
        home, model = self.world.home, str(self.world.model)
        recipe, texts = ("scored.yaml", "few.txt") if self.other else ("pairs.yaml", "texts.txt")
        if self.name == "train":
            return ["train", str(home / recipe), "--out", "out", *(["--resume"] if again else [])]
        if self.name == "encode":
            return ["encode", model, str(home / texts), "--out", "out", "--rows-per-part", "16"]
        if self.name == "rotate":
            dims = "8,32" if self.other else "4,8,32"
            pairs = ["--texts", str(home / "pairs.jsonl"), "--column", "anchor"]
            return ["rotate", model, *pairs, "--dims", dims, "--out", "out", "--steps", "5"]
        if self.name == "eval":
            task = ["--task", "classification:places", "--dims", "16,32" if self.other else "8,32"]
            return ["eval", model, *task, "--data-root", str(home / "root"), "--out", "out"]
        encoded = Job("encode", self.world, self.other).finished / "out"
        return ["index", str(encoded), "--out", "out", *(["--no-tune"] if self.name == "index" else ["-k", "3"])]

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
        return self.world.home / f"{self.title}-1"

    @property
    def title(self) -> str:
        """Its name, which no other job has."""
        return f"{self.name}-other" if self.other else self.name


@cache
def _reference(job: Job) -> Reference:
    found = []
    for number in (1, 2):
        folder = job.world.home / f"{job.title}-{number}"
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
    if parts:
        return f"left half written: {parts[0].name}"
    for record in folder.rglob("index.json"):
        named = {*json.loads(record.read_text())["structures"].values()}
        if left := {file.name for file in record.parent.glob("*.faiss")} ^ named:
            return f"structures that the record does not name, or that are missing: {min(left)}"
    return None
