"""Settings of an evaluation, and the record of what each of its stages cost."""

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sentence_transformers.util import get_device_name

from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.tasks.planned import PlannedTask, PlannedText
from matryoshka_text.rows import Row
from matryoshka_text.versions import version_of

__all__ = ["Settings", "Stage", "new_row", "processor", "prompts_digest", "versions"]

_PACKAGES = ("mteb", "torch", "transformers", "sentence-transformers", "matryoshka-text")


@dataclass(frozen=True)
class Settings:
    """Where things go and how texts are encoded: `batch_size` texts a pass (None: by padded tokens), in `dtype`."""

    out: Path
    vectors: Path
    normalize: bool
    batch_size: int | None = None
    device: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    dtype: Literal["float32", "bf16"] = "float32"

    def marks(self, sample: Callable[[], Any] | None = None) -> dict[str, str]:
        """What sets results apart on disk next to model and view: given prompts, other arithmetic, and a sample."""
        prompts = prompts_digest(self.prompts)
        found = {} if prompts is None else {"prompts": prompts}
        if self.dtype != "float32":
            found["dtype"] = self.dtype
        return found if sample is None else {**found, "sample": sample().digest[:8]}

    def told(self, sample: Callable[[], Any] | None = None) -> dict[str, Any]:
        """`normalize` and `marks`, as the records of results take them."""
        return {"normalize": self.normalize, "marks": self.marks(sample)}

    def similarity_of(self, subject: Subject) -> str:
        """What the model's vectors are compared with: its own similarity; cosine if they are brought to length 1."""
        return "cosine" if self.normalize else subject.similarity

    def digest(
        self, sample: Callable[[], Any] | None = None, rotation: str | None = None, similarity: str = "cosine"
    ) -> str:
        """16 hex digits over all that a score depends on and that model, task, data and view do not tell.

        `sample`: gives what components or ranges are taken from, where they are. `rotation`: tells it, where one is
        applied.
        """
        known: dict[str, Any] = {
            "device": self.device or get_device_name(),
            "prompts": dict(self.prompts),
            "seed": self.seed,
            "versions": {name: number for name, number in versions().items() if name != "matryoshka-text"},
        }
        if self.dtype != "float32":
            known["dtype"] = self.dtype
        if similarity not in ("cosine", "dot"):
            # The weights tell it already, but such models were once compared by their cosine.
            known["similarity"] = similarity
        if sample is not None:
            known["sample"] = sample().digest
        if rotation is not None:
            known["rotation"] = rotation
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def prompts_digest(prompts: Mapping[str, str]) -> str | None:
    """8 hex digits that tell these prompts from others; None if there are none."""
    return hashlib.sha256(json.dumps(dict(prompts), sort_keys=True).encode()).hexdigest()[:8] if prompts else None


@dataclass(frozen=True)
class Stage:
    """What one model on one task cost: seconds, and texts encoded or found in the store."""

    model: str
    task: str
    load: float = 0.0
    encode: float = 0.0
    score: float = 0.0
    encoded: int = 0
    found: int = 0
    note: str = ""

    def __str__(self) -> str:
        return (
            f"{self.task} · {self.model}: load {self.load:.1f} s, encode {self.encode:.1f} s "
            f"({self.encoded:,} texts, {self.found:,} from the store), score {self.score:.1f} s"
            + (f"; {self.note}" if self.note else "")
        )


@cache
def versions() -> dict[str, str]:
    """The installed versions that a score depends on; one that is not installed is left out."""
    return {package: number for package in _PACKAGES if (number := version_of(package)) is not None}


@cache
def processor() -> str:
    """The CPU's name as Linux gives it; elsewhere whatever Python knows."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8", errors="replace").splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else platform.processor() or platform.machine() or "unknown CPU"


def new_row(task: PlannedTask | PlannedText, subject: Subject, **scored: Any) -> Row:
    """The row of a scoring done now: what it is of, on which versions, and what was `scored`."""
    return Row(
        model=subject.name,
        weights=subject.weights,
        origin=subject.origin,
        layers=subject.layers,
        task=task.name,
        type=task.type,
        metric=task.metric,
        data=task.data,
        versions=versions(),
        date=datetime.now(UTC),
        **scored,
    )
