"""Rotations as an evaluation knows them: given in a file, or to be fitted on a task's own documents."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from matryoshka_text.errors import ModelError
from matryoshka_text.rotation import FitSettings, Rotation

__all__ = ["Fit", "Given", "Turns", "given_rotation"]


@dataclass(frozen=True)
class Fit:
    """For which dims and how a rotation is fitted; the documents are each task's own."""

    dims: tuple[int, ...]
    settings: FitSettings

    @property
    def digest(self) -> str:
        """sha256 (64 hex digits) over dims and settings."""
        text = json.dumps({"dims": self.dims, **asdict(self.settings)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def fewest(self) -> int:
        """Different documents below which nothing is fitted: two neighbourhoods."""
        return 2 * self.settings.neighbours


@dataclass(frozen=True)
class Given:
    """A rotation that is applied to a model's vectors; `name` heads its column."""

    name: str
    rotation: Rotation

    @cached_property
    def digest(self) -> str:
        """sha256 (64 hex digits) over the matrix in float64."""
        return hashlib.sha256(self.rotation.matrix.astype("<f8").tobytes()).hexdigest()

    def require_width(self, width: int, label: str) -> None:
        """`ModelError` where it is for vectors of another width."""
        if self.rotation.width != width:
            raise ModelError(
                f"--rotation: {self.name} turns vectors of width {self.rotation.width}, but {label} gives vectors of "
                f"width {width}; give a rotation of width {width}, such as one that mtext rotate learns for {label}"
            )


@dataclass(frozen=True)
class Turns:
    """The rotations of an evaluation: how one is fitted on a task's documents, and one that was given.

    `say` is told when one is fitted, which takes a while.
    """

    fit: Fit
    given: Given | None = None
    say: Callable[[str], None] = lambda line: None


def given_rotation(rotation: str | Path | Rotation) -> Given:
    """The rotation, opened where it is a file. `DataError` for a file that holds none."""
    if isinstance(rotation, Rotation):
        return Given("rotation", rotation)
    path = Path(rotation).expanduser()
    return Given(path.name, Rotation.open(path))
