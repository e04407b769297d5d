"""From texts to a rotation, for `mtext rotate` and for a recipe: encode once, learn, and tell of each step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.progress import Progress
from matryoshka_text.rotating.clusters import divided
from matryoshka_text.rotating.vectors import vectors_by_source
from matryoshka_text.rotation import Check, FitSettings, Learned, Split, Step, learn_from, split_sources

__all__ = ["How", "learn_from_texts", "learn_shown", "line_of_check"]


@dataclass(frozen=True)
class How:
    """What decides a rotation, next to the model and the texts.

    `dims`: the prefix lengths; `most`: texts of a source at most; `held_back`: the share of them that is not learned
    from; `split`: sources that each one is divided into; `dtype` and `prompts` (one for each text, by source): how
    texts are encoded.
    """

    dims: tuple[int, ...]
    settings: FitSettings
    most: int
    held_back: float
    dtype: str
    split: int = 1
    prompts: Mapping[str, Sequence[str | None]] | None = None


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
    with Progress("rotation: encoding", "texts", shown=progress) as bar:
        vectors = vectors_by_source(
            encoder, texts, store, dtype=how.dtype, prompts=how.prompts, on_progress=bar.reached
        )
    settings = how.settings
    parts = split_sources(vectors, most=how.most, held_back=how.held_back, seed=settings.seed)
    parts = divided(parts, how.split, settings)
    return learn_shown(parts, how.dims, settings, progress=progress, write=write)


def learn_shown(
    parts: Mapping[str, Split],
    dims: Sequence[int],
    settings: FitSettings,
    *,
    progress: bool,
    write: Callable[[dict[str, Any]], object] = lambda line: None,
) -> Learned:
    """`learn_from`, with a bar that shows the newest losses; `write` gets a line for each step and check."""
    names, newest = list(parts), {"loss": "", "held back": ""}
    with Progress("rotation: learning", "steps", settings.steps, shown=progress) as bar:

        def on_step(step: Step) -> None:
            dim, loss = next(iter(step.per_dim.items()))
            newest["loss"] = f"loss at {dim} dims {loss:.3f}"
            bar.note = newest["loss"] + newest["held back"]
            bar(1)
            write({"rotation_step": step.number, "source": names[step.source], "loss": {"rotation": step.per_dim}})

        def on_check(check: Check) -> None:
            newest["held back"] = f", held back {next(iter(check.per_dim.values())):.3f}" if check.per_dim else ""
            write(line_of_check(check))

        return learn_from(parts, dims, settings, on_step=on_step, on_check=on_check)


def line_of_check(check: Check) -> dict[str, object]:
    """The loss of held-back texts by dim, in nats, and the mean over dims of its logarithm, which picks the step."""
    return {"rotation_step": check.step, "held_back": check.per_dim, "mean_log": check.loss}
