"""From texts to a rotation, for `mtext rotate` and for a recipe: encode once, learn, and tell of each step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.rotating.clusters import divided
from matryoshka_text.rotating.progress import encoding_bar, learning_bar
from matryoshka_text.rotating.vectors import vectors_by_source
from matryoshka_text.rotation import Check, FitSettings, Learned, Step, learn_from, split_sources

__all__ = ["How", "learn_from_texts", "line_of_check"]


@dataclass(frozen=True)
class How:
    """What decides a rotation, next to the model and the texts.

    `dims`: the prefix lengths; `most`: texts of a source at most; `held_back`: the share of them that is not learned
    from; `split`: sources that each one is divided into; `dtype` and `prompt`: how texts are encoded.
    """

    dims: tuple[int, ...]
    settings: FitSettings
    most: int
    held_back: float
    dtype: str
    split: int = 1
    prompt: str | None = None


def learn_from_texts(
    encoder: MatryoshkaEncoder,
    texts: Mapping[str, Sequence[str]],
    store: Path,
    how: How,
    *,
    progress: bool = False,
    write: Callable[[dict[str, Any]], object] = lambda line: None,
) -> Learned:
    """The rotation of the encoder's vectors of `texts` (by source), which are kept in `store`.

    `write` gets a line of metrics.jsonl for each step and for each check. `EvaluationError` naming texts whose vectors
    are not finite, `DataError` for sources that are too small, `RunError` for a full disk.
    """
    with encoding_bar(shown=progress) as tell:
        vectors = vectors_by_source(encoder, texts, store, dtype=how.dtype, prompt=how.prompt, on_progress=tell)
    settings = how.settings
    parts = split_sources(vectors, most=how.most, held_back=how.held_back, seed=settings.seed)
    parts = divided(parts, how.split, settings)
    names = list(parts)
    with learning_bar(settings.steps, shown=progress) as bar:

        def on_step(step: Step) -> None:
            bar.step(step)
            write({"rotation_step": step.number, "source": names[step.source], "loss": {"rotation": step.per_dim}})

        def on_check(check: Check) -> None:
            bar.check(check)
            write(line_of_check(check))

        return learn_from(parts, how.dims, settings, on_step=on_step, on_check=on_check)


def line_of_check(check: Check) -> dict[str, object]:
    """The loss of held-back texts by dim, in nats, and the mean over dims of its logarithm, which picks the step."""
    return {"rotation_step": check.step, "held_back": check.per_dim, "mean_log": check.loss}
