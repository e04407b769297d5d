"""The folder of a rotation: what is in it, and whether it may be written."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from matryoshka_text import files
from matryoshka_text.records import earlier_record
from matryoshka_text.rotating.record import FILE, Record

__all__ = ["RotationFolder"]


@dataclass(frozen=True)
class RotationFolder:
    """rotation.json, vectors/, metrics.jsonl, rotation.safetensors, table.txt, and last model/."""

    path: Path

    @property
    def model(self) -> Path:
        """The rotated model, in plain sentence-transformers format; it appears last."""
        return self.path / "model"

    @property
    def rotation(self) -> Path:
        """The orthogonal matrix."""
        return self.path / "rotation.safetensors"

    @property
    def metrics(self) -> Path:
        """One line for each step and for each check."""
        return self.path / "metrics.jsonl"

    @property
    def table(self) -> Path:
        """What prefixes keep, before and after."""
        return self.path / "table.txt"

    @property
    def vectors(self) -> Path:
        """The base model's vectors of the texts."""
        return self.path / "vectors"

    @property
    def finished(self) -> bool:
        """Whether everything is there."""
        return (self.model / "modules.json").is_file() and self.rotation.is_file()

    @property
    def record(self) -> Path:
        """What it was learned from and how, and what came of it."""
        return self.path / FILE

    def earlier(self) -> Record | None:
        """What an earlier run has begun here; None for a new or empty folder, `RunError` for anybody else's."""
        return earlier_record(self.record, Record, "mtext rotate")

    def sweep(self) -> None:
        """Remove what a kill left half written."""
        files.sweep(self.path)
        files.sweep(self.vectors)
        shutil.rmtree(self.path / ".model.old", ignore_errors=True)
