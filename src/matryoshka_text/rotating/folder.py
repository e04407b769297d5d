"""The folder of a rotation: what is in it, and whether it may be written."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from matryoshka_text import files
from matryoshka_text.errors import RunError
from matryoshka_text.rotating.record import FILE, Record, read_record

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

    def earlier(self) -> Record | None:
        """What an earlier run has begun here; None for a new or empty folder, `RunError` for anybody else's."""
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise RunError(f"{self.path}: is a file; allowed: a folder; give another with --out")
        if (self.path / FILE).exists():
            return read_record(self.path)
        strangers = sorted(p.name for p in self.path.iterdir() if not p.name.startswith("."))
        if strangers:
            raise RunError(
                f"{self.path}: holds {', '.join(strangers[:5])}, but no {FILE}, so it is not the folder of a rotation; "
                "give another with --out"
            )
        return None

    def sweep(self) -> None:
        """Remove what a kill left half written."""
        files.sweep(self.path)
        files.sweep(self.vectors)
        shutil.rmtree(self.path / ".model.old", ignore_errors=True)
