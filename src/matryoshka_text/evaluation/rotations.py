"""Rotations as an evaluation knows them: given in a file, or fitted on a task's own documents."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from jaxtyping import Float32
from numpy import ndarray

from matryoshka_text.errors import DataError, EvaluationError, ModelError
from matryoshka_text.evaluation.tasks.sample import Sample
from matryoshka_text.files import expanded
from matryoshka_text.rotation import FitSettings, Rotation, learn

__all__ = ["Fit", "Given", "given_rotation", "require_enough", "rotation_of"]


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
        """`ModelError` if it is for vectors of another width."""
        if self.rotation.width != width:
            raise ModelError(
                f"--rotation: {self.name} turns vectors of width {self.rotation.width}, but {label} gives vectors of "
                f"width {width}; give a rotation of width {width}, such as one that mtext rotate learns for {label}"
            )


def given_rotation(rotation: str | Path | Rotation) -> Given:
    """The rotation, opened where it is a file. `DataError` for a file that holds none."""
    if isinstance(rotation, Rotation):
        return Given("rotation", rotation)
    path = expanded(rotation)
    return Given(path.name, Rotation.open(path))


log = logging.getLogger(__name__)


def require_enough(documents: Sample, fit: Fit) -> None:
    """`EvaluationError` if there are too few documents to fit a rotation on."""
    if len(documents.texts) < fit.fewest:
        raise EvaluationError(
            f"rotation: found {len(documents.texts)} different documents; allowed: at least {fit.fewest}, two "
            "neighbourhoods; leave out --baselines rotation for so small a corpus"
        )


def rotation_of(
    folder: Path,
    documents: Sample,
    fit: Fit,
    read: Callable[[Sequence[str]], Float32[ndarray, "n width"]],
    *,
    encoding: str = "",
    say: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Rotation:
    """The rotation fitted on the documents' full-width vectors, which `read` gives; kept in `folder`, one of a model.

    `encoding`: what else decides those vectors (a prompt). `EvaluationError` if nothing can be fitted.
    """
    key = f"{documents.digest}\0{encoding}\0{fit.digest}"
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    if path.exists():
        try:
            return Rotation.open(path)
        except DataError as error:
            log.warning("%s; it is fitted again", error)
    require_enough(documents, fit)
    vectors = read(documents.texts)
    say(f"fitting a rotation on {len(documents.texts):,} of {documents.origin}, no queries and no labels")
    steps = fit.settings.steps
    try:
        learned = learn(
            {documents.origin: vectors},
            fit.dims,
            fit.settings,
            most=len(vectors),
            on_step=lambda step: on_progress(step.number, steps),
        )
    except DataError as error:
        raise EvaluationError(f"rotation: {documents.origin}: {error}; leave out --baselines rotation") from error
    record = {**learned.rotation.record, "documents": documents.digest}
    found = Rotation(learned.rotation.matrix, fit.dims, record)
    found.save(path)
    return found
