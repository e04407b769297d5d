"""metrics.jsonl: one line a step, cut back on resume."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from matryoshka_text.errors import RunError

__all__ = ["MetricsFile"]


class MetricsFile:
    """An append-only file of JSON lines whose length is part of every checkpoint."""

    def __init__(self, path: Path, *, keep: int) -> None:
        """Open `path`, cut to its first `keep` bytes: what came after the checkpoint comes again."""
        found = path.stat().st_size if path.exists() else 0
        if found < keep:
            raise RunError(
                f"{path}: has {found} bytes, but the checkpoint was written after {keep}; it was cut or replaced. "
                "Restore it, or start again with another --out"
            )
        if keep and not _ends_a_line(path, keep):
            raise RunError(
                f"{path}: no line ends after {keep} bytes, which is where the checkpoint was written; it was changed. "
                "Restore it, or start again with another --out"
            )
        self._path, self._file = path, path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(keep)
        self._file.seek(keep)

    def write(self, record: Mapping[str, object]) -> None:
        """One line, seen by readers at once."""
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()

    def write_all(self, records: Iterable[Mapping[str, object]]) -> None:
        """A line each."""
        for record in records:
            self.write(record)

    def sync(self) -> int:
        """The length in bytes, once everything is on disk; `RunError` if the file is no longer where it was opened."""
        self._file.flush()
        if not (self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))):
            raise RunError(
                f"{self._path}: was removed or replaced while the run wrote to it; put the folder back and go on with "
                "--resume, or start again with another --out"
            )
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _ends_a_line(path: Path, keep: int) -> bool:
    with path.open("rb") as file:
        file.seek(keep - 1)
        return file.read(1) == b"\n"
