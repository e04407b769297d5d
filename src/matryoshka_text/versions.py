"""What a result depends on besides its inputs: versions, commit, machine, threads."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__version__ = "0.1.0"
__all__ = ["__version__", "surroundings", "version_of"]


def surroundings(device: "torch.device", packages: Sequence[str]) -> dict[str, object]:
    """Our version and commit, those of `packages`, Python, system, device, CPU and threads, ready for JSON."""
    import torch

    return {
        "matryoshka_text": __version__,
        "commit": _commit(),
        "versions": {name: version_of(name) for name in packages},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "waiting": {name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ},
    }


def version_of(package: str) -> str | None:
    """The installed version of `package`; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, "+" behind it where files differ; None for an installed wheel."""
    here = Path(__file__).resolve().parent
    if not (here.parents[1] / ".git").exists():
        return None
    try:
        head = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", str(here.parents[1] / "src"))
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def _git(where: Path, *words: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return subprocess.run(
        ["git", *words], cwd=where, env=clean, capture_output=True, text=True, check=True
    ).stdout.strip()
