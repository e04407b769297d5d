"""Kills at file operations and at random moments, signals, full disks, and two processes on one folder."""

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from tests.attack.case import Case, broken
from tests.attack.forked import Child, Outcome, run
from tests.attack.jobs import JOBS, Job, litter_of
from tests.attack.world import World

_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")


class _Counter:
    """Counts what a process does to files below `folder`, and calls `act` before the n-th."""

    def __init__(self, folder: Path, act: Callable[[int], None]) -> None:
        self.folder, self.act, self.count = str(folder), act, 0

    def start(self) -> None:
        sync = os.fsync

        def fsync(handle: int) -> None:
            self._one()
            sync(handle)

        os.fsync = fsync
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and isinstance(path, str) and self._below(path):
                self._one()
        elif event in _CHANGES and self._below(
            os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""
        ):
            self._one()

    def _below(self, path: str) -> bool:
        return ".said-" not in path and (not path.startswith("/") or path.startswith(self.folder))

    def _one(self) -> None:
        self.count += 1
        self.act(self.count)


@cache
def _operations(job: Job) -> int:
    """How many file operations the undisturbed job does."""
    folder = job.world.home / f"{job.title}-count"
    folder.mkdir(exist_ok=True)
    tally = folder / "tally"

    def note(count: int) -> None:
        handle = os.open(tally.with_suffix(".n"), os.O_WRONLY | os.O_CREAT)
        os.pwrite(handle, f"{count:09d}".encode(), 0)
        os.close(handle)

    counting = [False]

    def once(count: int) -> None:
        if not counting[0]:  # its own file operations do not count
            counting[0] = True
            note(count)
            counting[0] = False

    counter = _Counter(folder, once)
    run(job.words(), folder, counter.start)
    return int(tally.with_suffix(".n").read_text())


def kills(rng: Random, world: World, folder: Path) -> Case:
    """Killed before the n-th file operation, perhaps twice, then finished: every byte is as without."""
    job = Job(rng.choice(JOBS), world)
    most = _operations(job)
    told = []
    for attempt in range(rng.choice((1, 1, 2, 3))):
        place = rng.randint(1, most)
        told.append(str(place))

        def act(count: int, place: int = place) -> None:
            if count == place:
                os.kill(os.getpid(), signal.SIGKILL)

        found = run(job.words(again=attempt > 0), folder, _Counter(folder, act).start)
        if found.status not in (0, -signal.SIGKILL):
            return _told(f"{job.name}: killed before operations {', '.join(told)} of {most}", found, job)
    return _finished(f"{job.name}: killed before operations {', '.join(told)} of {most}", job, folder)


def _finished(what: str, job: Job, folder: Path) -> Case:
    """The job goes on to its end, which is the undisturbed one."""
    return Case(what, [job.words(again=True)], "accept", lambda last: _undisturbed(job, folder))


def _undisturbed(job: Job, folder: Path) -> str | None:
    return litter_of(folder) or job.reference.difference(job.kept(folder))


def _told(what: str, found: Outcome, job: Job, fault: str | None = None) -> Case:
    """A fault that was seen before the last command."""
    words = fault or broken(found) or f"exit {found.status}"
    return Case(what, [["--version"]], after=lambda last: f"{words}\n{found.said[-2000:]}")


def signals(rng: Random, world: World, folder: Path) -> Case:
    """Ctrl-C or a polite end at a random moment: 130 or 143, one line, and the job can go on."""
    job = Job(rng.choice(JOBS), world)
    number, expected = rng.choice(((signal.SIGINT, 130), (signal.SIGTERM, 143)))
    seconds = float((job.finished / "finished").read_text())
    moment = rng.random() * seconds
    what = f"{job.name}: {signal.Signals(number).name} after {moment:.2f} of {seconds:.2f} s"
    child = Child(job.words(), folder)
    time.sleep(moment)
    if os.waitid(os.P_PID, child.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        child.signal(number)
    found = child.wait()
    if found.status not in (0, expected):
        return _told(what, found, job, broken(found) or f"exit {found.status} for {expected}")
    if "Traceback" in found.said:
        return _told(what, found, job)
    return _finished(what, job, folder)


def disks(rng: Random, world: World, folder: Path) -> Case:
    """A disk of random size, then room: told in one message with exit status 2, and the job can go on."""
    job = Job(rng.choice(JOBS), world)
    if rng.random() < 0.5 and os.geteuid() == 0 and _mounted(folder, kib := rng.randint(4, 900)):
        what = f"{job.name}: a disk of {kib} KiB"
        found = run(job.words(), folder)
        _mount(folder, "remount,size=64m")
    else:
        size = int(10 ** rng.uniform(2, 6))
        what = f"{job.name}: no file above {size} bytes"

        def limited() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        found = run(job.words(), folder, limited)
    if found.status not in (0, 2) or broken(found):
        return _told(what, found, job)
    return _finished(what, job, folder)


def _mounted(folder: Path, kib: int) -> bool:
    return _mount(folder, f"size={kib}k")


def _mount(folder: Path, options: str) -> bool:
    library = ctypes.CDLL(None, use_errno=True)
    flags, options = (32, options.removeprefix("remount,")) if options.startswith("remount,") else (0, options)
    return library.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options.encode()) == 0


def unmount(folder: Path) -> None:
    """Give a small disk back, if there is one."""
    if os.path.ismount(folder):
        ctypes.CDLL(None).umount2(os.fsencode(folder), 2)


def races(rng: Random, world: World, folder: Path) -> Case:
    """Two processes on one folder, at once or a moment apart: one at least finishes, with the right result."""
    job = Job(rng.choice(JOBS), world)
    # An evaluation of other dims adds its own to the folder.
    rival = Job(job.name, world, other=rng.random() < 0.4 and job.name != "eval")
    wait = rng.choice((0.0, rng.random() * float((job.finished / "finished").read_text())))
    what = f"{job.name}: two processes{' of two kinds' if rival.other else ''}, {wait:.2f} s apart"
    again = rng.random() < 0.5
    first = Child(job.words(again=again), folder)
    time.sleep(wait)
    second = Child(rival.words(again=again), folder)
    outcomes = (first.wait(), second.wait())
    for found in outcomes:
        if found.status not in (0, 2) or broken(found):
            return _told(what, found, job)
    if all(found.status == 2 for found in outcomes):
        return _told(what, outcomes[0], job, "both were refused")
    if not rival.other:
        return _finished(what, job, folder)
    finished = [one for one, found in zip((job, rival), outcomes, strict=True) if found.status == 0]
    return Case(what, [["--version"]], after=lambda last: _of_one(finished, folder))


def _of_one(jobs: list[Job], folder: Path) -> str | None:
    """None if the folder is what one of these that finished leaves when it runs by itself."""
    faults = [_undisturbed(job, folder) for job in jobs]
    return None if None in faults else f"two jobs mixed: {faults[0]}"
