"""One masked-language model on one text: every dim scored from one pass of the encoder."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from matryoshka_text.encoder.layers import first_layers
from matryoshka_text.encoder.reread import without_reports
from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.settings import Settings, Stage, new_row
from matryoshka_text.evaluation.tasks.planned import PlannedText
from matryoshka_text.rows import Row

if TYPE_CHECKING:
    from matryoshka_text.heads.masked_lm import MaskedScores, MatryoshkaMaskedLM

__all__ = ["open_masked_lm", "score_masked", "within_decoder"]

# Sequences in one pass: packed full, so that they need no sorting.
BATCH = 32


def open_masked_lm(subject: Subject, device: str | None) -> "MatryoshkaMaskedLM":
    """The model with its trained head; `ModelError` if it has none."""
    from matryoshka_text.heads import vocabulary
    from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM

    level = vocabulary.log.level
    # It warns of a fresh head, which is an error here.
    vocabulary.log.setLevel(logging.ERROR)
    try:
        with without_reports():
            return MatryoshkaMaskedLM(subject.path, device=device)
    finally:
        vocabulary.log.setLevel(level)


def score_masked(
    planned: PlannedText,
    subject: Subject,
    model: "MatryoshkaMaskedLM",
    *,
    texts: Sequence[str],
    dims: Sequence[int],
    settings: Settings,
    on_progress: Callable[[int, int], None],
) -> tuple[list[Row], Stage]:
    """A row for each dim up to the decoder's width (the columns of the vocabulary matrix that are read), and costs."""
    started = time.perf_counter()
    width = model.head.width
    asked = within_decoder(dims, width, subject)
    if not asked:
        note = f"no dim of {', '.join(map(str, dims))} is within its decoder's {width}"
        return [], Stage(subject.label, planned.name, note=note)
    with first_layers(model.encoder, subject.layers):
        scores = model.scores(
            texts,
            asked,
            max_length=planned.max_length,
            share=planned.share,
            seed=planned.seed,
            batch_size=settings.batch_size or BATCH,
            on_progress=on_progress,
        )
    rows = [_row(planned, subject, scores, place, width=width, settings=settings) for place in range(len(asked))]
    note = f"dims up to {width}, the width of its decoder" if width < subject.width else ""
    took = time.perf_counter() - started
    return rows, Stage(subject.label, planned.name, encode=took, encoded=len(texts), note=note)


def within_decoder(dims: Sequence[int], width: int, subject: Subject) -> list[int]:
    """The dims that the decoder has, and its own width unless the model counts at one dim only."""
    return sorted({dim for dim in dims if dim <= width} | ({width} if subject.only is None else set()))


def _row(
    planned: PlannedText, subject: Subject, scores: "MaskedScores", place: int, *, width: int, settings: Settings
) -> Row:
    dim, loss = scores.dims[place], scores.loss[place]
    if not math.isfinite(loss):
        raise EvaluationError(f"{planned.name}: the loss at {dim} dims is {loss}; the model's weights are damaged")
    further = {"perplexity": scores.perplexity[place], "loss": loss, "masked_tokens": float(scores.tokens)}
    return new_row(
        planned,
        subject,
        split=planned.split,
        dim=dim,
        width=width,
        bytes_per_vector=4 * dim,
        score=float(scores.accuracy[place]),
        further={name: float(value) for name, value in further.items() if math.isfinite(value)},
        normalize=False,
        settings=settings.digest(),
    )
