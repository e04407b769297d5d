"""The vectors of each source's texts, kept on disk as they come, so that a killed run goes on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxtyping import Float32
from numpy import ndarray

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.vectors.reader import TextReader
from matryoshka_text.vectors.store import VectorStore

__all__ = ["vectors_by_source"]


def vectors_by_source(
    encoder: MatryoshkaEncoder,
    texts: Mapping[str, Sequence[str]],
    store: Path,
    *,
    dtype: str = "float32",
    prompt: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Float32[ndarray, "_ width"]]:
    """Full-width vectors by source, read from the `store` folder where they are there already.

    The store is for this model only: the caller names it after the model's weights. `on_progress` is told (done, all)
    texts over all sources. `EvaluationError` naming texts whose vectors are not finite, `RunError` for a full disk.
    """
    kept = VectorStore(store, encoder.width)
    total, before = sum(map(len, texts.values())), 0
    found = {}
    for name, rows in texts.items():
        done = before

        def tell(part: int, of: int, done: int = done, rows: int = len(rows)) -> None:
            on_progress(done + rows - of + part, total)

        found[name] = TextReader(encoder, kept, dtype=dtype, on_progress=tell).read(
            rows, dim=encoder.width, prompt=prompt
        )
        before += len(rows)
        on_progress(before, total)
    return found
