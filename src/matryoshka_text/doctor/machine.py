"""Versions, devices, arithmetic, threads, memory, disks and caches of this machine."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import psutil
import torch
from packaging.requirements import Requirement
from sentence_transformers.util import get_device_name

from matryoshka_text.doctor.line import Line, look
from matryoshka_text.encoder.dtype import decide_dtype
from matryoshka_text.versions import __version__, surroundings, version_of

__all__ = ["machine"]

_PACKAGES = (
    *("torch", "transformers", "sentence-transformers", "tokenizers", "huggingface-hub", "datasets", "accelerate"),
    *("peft", "safetensors", "numpy", "mteb"),
)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_ENDPOINT", "MTEXT_DATA_ROOT")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
# Less than this, and the next checkpoint of a small model does not fit.
_LITTLE = 1e9
_CGROUP = Path("/sys/fs/cgroup")


def machine() -> Iterator[Line]:
    """What does not depend on a model or a recipe. Of tokens and proxies only whether they are set."""
    device = torch.device(get_device_name())
    yield from look("mtext", lambda: _ours(device))
    yield from look("packages", _packages)
    yield from look("device", lambda: _devices(device))
    yield from look("precision", lambda: _precision(device))
    yield from look("threads", _threads)
    yield from look("memory", _memory)
    yield from look("disk", _disks)
    yield from look("offline", _offline)


def _ours(device: torch.device) -> Iterator[Line]:
    found = surroundings(device, ())
    commit = f" (commit {str(found['commit'])[:12]})" if found["commit"] else ""
    yield Line("mtext", f"{__version__}{commit}, Python {found['python']}, {found['system']}")


def _packages() -> Iterator[Line]:
    yield Line("packages", ", ".join(f"{name} {version_of(name) or 'not installed'}" for name in _PACKAGES))
    try:
        declared = [Requirement(line) for line in requires("matryoshka-text") or ()]
    except PackageNotFoundError:
        yield Line("packages", "matryoshka-text itself is not installed; install it with: pip install -e .", wrong=True)
        return
    for one in declared:
        # One of an extra may be missing, but not of another version.
        needed = one.marker is None or one.marker.evaluate({"extra": ""})
        found = version_of(one.name)
        if (found is None and needed) or (found is not None and not one.specifier.contains(found, prereleases=True)):
            wanted = f"{one.name}{one.specifier}"
            way = f"install it with: pip install '{wanted}'"
            yield Line("packages", f"found {one.name} {found or 'not installed'}; allowed: {wanted}; {way}", wrong=True)


def _devices(device: torch.device) -> Iterator[Line]:
    names = [
        f"cuda:{place} {card.name} ({card.total_memory / 2**30:.0f} GiB, capability {card.major}.{card.minor})"
        for place in range(torch.cuda.device_count())
        for card in [torch.cuda.get_device_properties(place)]
    ]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    yield Line("device", f"{device}; torch's build has {build}, GPUs in sight: {', '.join(names) or 'none'}")


def _precision(device: torch.device) -> Iterator[Line]:
    decision = decide_dtype("auto", device)
    yield Line("precision", f"`auto` means {decision.dtype} here; {decision.reason.removeprefix('auto: ')}")


def _threads() -> Iterator[Line]:
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    limit = _cpu_limit()
    threads = torch.get_num_threads()
    named = ", ".join(f"{name}={os.environ[name]}" for name in _THREADS if name in os.environ) or "no variable set"
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    cgroup = f", cgroup limit {limit:g}" if limit is not None else ""
    yield Line("threads", f"torch uses {threads}; {usable} of {cores} CPUs may be used{cgroup}{load}; {named}")
    most = max(1, int(min(usable, limit or usable)))
    if threads > most:
        yield Line(
            "threads",
            f"found {threads} threads for {most} CPUs, which wait for one another; set OMP_NUM_THREADS={most}",
            wrong=True,
        )


def _cpu_limit() -> float | None:
    """CPUs that the control group allows; None if it sets no limit."""
    words = _cgroup("cpu.max").split()
    if len(words) == 2 and words[0].isdigit():
        return int(words[0]) / int(words[1])
    quota, period = _cgroup("cpu/cpu.cfs_quota_us"), _cgroup("cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _cgroup(name: str) -> str:
    """The control group's file of that name; empty if there is none."""
    file = _CGROUP / name
    return file.read_text().strip() if file.is_file() else ""


def _memory() -> Iterator[Line]:
    found = psutil.virtual_memory()
    limit = _cgroup("memory.max") or _cgroup("memory/memory.limit_in_bytes")
    # The first version of control groups writes an enormous number for "no limit".
    cgroup = f", cgroup limit {int(limit) / 1e9:.1f} GB" if limit.isdigit() and int(limit) < 2**60 else ""
    yield Line("memory", f"{found.available / 1e9:.1f} of {found.total / 1e9:.1f} GB available{cgroup}")


def _disks() -> Iterator[Line]:
    free: list[str] = []
    for name, place in _places().items():
        there = place
        while not there.exists():
            there = there.parent
        room = shutil.disk_usage(there).free
        free.append(f"{name} {room / 1e9:.1f} GB ({_short(place)})")
        if room < _LITTLE:
            way = "free some space, or use another folder"
            yield Line("disk", f"{_short(place)}: has {room / 1e6:,.0f} MB free, little for {name}; {way}", wrong=True)
        if not os.access(there, os.W_OK):
            way = "change its permissions, or use another folder"
            yield Line("disk", f"{_short(there)}: cannot be written, which {name} needs; {way}", wrong=True)
    yield Line("disk", "free for " + ", ".join(free))


def _places() -> Mapping[str, Path]:
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    return {
        "runs": Path("runs").absolute(),
        "models": Path(HF_HUB_CACHE),
        "data sets": Path(config.HF_DATASETS_CACHE),
        "temporary files": Path(tempfile.gettempdir()),
    }


def _offline() -> Iterator[Line]:
    from huggingface_hub import get_token
    from huggingface_hub.constants import HF_HUB_CACHE

    given = [f"{name}={_without_password(os.environ[name])}" for name in _OFFLINE if name in os.environ]
    given += [f"{name} set" for name in _PROXIES if name in os.environ or name.lower() in os.environ]
    models = sorted(Path(HF_HUB_CACHE).glob("models--*"))
    token = "a token is set (not shown)" if get_token() else "no token"
    yield Line("offline", f"{', '.join(given) or 'no variable set'}; {len(models)} models in the Hub cache; {token}")


def _without_password(value: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", value)


def _short(path: Path) -> str:
    """The path with ~ for the home folder."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
