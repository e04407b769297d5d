"""Records of runs, encodings, rotations and evaluations: values changed, files cut; then the same command again."""

import json
import shutil
from pathlib import Path
from random import Random

from tests.attack.case import Case, Must, odd
from tests.attack.forked import Outcome
from tests.attack.jobs import JOBS, Job, litter_of
from tests.attack.recipes import leaves
from tests.attack.world import World


def states(rng: Random, world: World, folder: Path) -> Case:
    """A job's folder as it was before its end, one file of it damaged. Refused, or the undisturbed result."""
    job = Job(rng.choice(JOBS), world)
    out = folder / "out"
    shutil.copytree(job.finished / "out", out)
    if job.name == "train":
        shutil.rmtree(out / "model")
    files = [file for file in sorted(out.rglob("*")) if file.is_file() and _is_state(file, out)]
    file = rng.choice(files)
    what, must = _damaged(rng, file)
    name = str(file.relative_to(out))
    commands = [job.words(again=True)]
    if job.name in ("index", "tune"):
        # Making it again heals it, or refuses another's folder; searching it is what reads it.
        commands.insert(rng.choice((0, 1)), ["search", "out", "the cat is here", "-k", "3"])
    doctor = "out" if job.name == "train" else None
    title = f"{job.name}: {name}: {what}"
    return Case(title, commands, must, lambda last: _same(job, folder, last), doctor=doctor)


def _is_state(file: Path, out: Path) -> bool:
    """A record or result of the job; a saved model is another attack's."""
    return (
        file.suffix in (".json", ".jsonl", ".yaml", ".safetensors", ".npy", ".arrow", ".faiss", ".sha256")
        and "model" not in file.relative_to(out).parts
    )


def _damaged(rng: Random, file: Path) -> tuple[str, Must]:
    content = file.read_bytes()
    if file.suffix == ".json" and rng.random() < 0.75:
        values = json.loads(content)
        found = list(leaves(values)) if isinstance(values, dict | list) else []
        if found:
            place, key, old = rng.choice(found)
            new = odd(rng)
            place[key] = new
            file.write_text(json.dumps(values))
            return f"{key} from {str(old)[:20]!r} to {str(new)[:20]!r}", "any"
    ways = {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "noise": b"\xff" + rng.randbytes(60),
        "list": b"[]",
        "deep": b"[" * 100_000,
        "missing": None,
    }
    what, new = rng.choice(list(ways.items()))
    file.unlink()
    if new is not None:
        file.write_bytes(new)
    return what, "any"


def _same(job: Job, folder: Path, last: Outcome) -> str | None:
    """What differs from the undisturbed result: only in what a reader reads, and not in the record itself."""
    if last.status != 0:
        return None
    return litter_of(folder) or _of_results(job, folder)


def _of_results(job: Job, folder: Path) -> str | None:
    results = {
        "train": ("model/",),
        "encode": ("part-", "vectors"),
        "rotate": ("model/", "rotation.safetensors"),
        "eval": ("rows.jsonl",),
        "index": ("",),
        "tune": ("segment-", "rotation.safetensors"),
    }[job.name]
    found = job.reference.difference(job.kept(folder))
    return found if found is not None and any(name in found for name in results) else None
