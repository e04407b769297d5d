"""Where an evaluation puts things, what each stage of it cost, and which versions it ran on."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["Settings", "Stage", "versions"]

_PACKAGES = ("mteb", "torch", "transformers", "sentence-transformers", "matryoshka-text")


@dataclass(frozen=True)
class Settings:
    """Where things go and how texts are encoded."""

    out: Path
    vectors: Path
    normalize: bool
    batch_size: int
    device: str | None


@dataclass(frozen=True)
class Stage:
    """What one model on one task cost: seconds, and texts encoded or found in the store."""

    model: str
    task: str
    load: float
    encode: float
    score: float
    encoded: int
    found: int
    note: str = ""

    def __str__(self) -> str:
        return (
            f"{self.task} · {self.model}: load {self.load:.1f} s, encode {self.encode:.1f} s "
            f"({self.encoded:,} texts, {self.found:,} from the store), score {self.score:.1f} s"
            + (f"; {self.note}" if self.note else "")
        )


def versions() -> dict[str, str]:
    """The installed versions that a score depends on; mteb is left out where it is not installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package != "mteb":
                raise
    return found
