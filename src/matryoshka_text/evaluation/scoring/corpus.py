"""The rotation of a task's own documents: fitted once for a model, dims and settings, then read from disk."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxtyping import Float32
from numpy import ndarray

from matryoshka_text.errors import DataError, EvaluationError
from matryoshka_text.evaluation.tasks.sample import Sample
from matryoshka_text.evaluation.vectors.turn import Fit
from matryoshka_text.rotation import Rotation, learn

__all__ = ["require_enough", "rotation_of"]

log = logging.getLogger(__name__)


def require_enough(documents: Sample, fit: Fit) -> None:
    """`EvaluationError` where there are too few documents to fit a rotation on."""
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

    `encoding`: what else decides those vectors (a prompt). `EvaluationError` where nothing can be fitted.
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
