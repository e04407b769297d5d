"""The vectors of each source's texts, kept on disk as they come, so that a killed run goes on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

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
    prompts: Mapping[str, Sequence[str | None]] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Float32[np.ndarray, "_ width"]]:
    """Full-width vectors by source, read from the `store` folder where they are there already.

    `prompts` has one for each text, by source; None: the one that `encode` uses. The store is for this model only: the
    caller names it after the model's weights. `on_progress` is told (done, all) texts over all sources.
    `EvaluationError` naming texts whose vectors are not finite, `RunError` for a full disk.
    """
    kept = VectorStore(store, encoder.width)
    total, before = sum(map(len, texts.values())), 0
    found = {}
    for name, rows in texts.items():
        found[name] = np.empty((len(rows), encoder.width), dtype=np.float32)
        asked = (prompts or {}).get(name) or [None] * len(rows)
        for prompt in dict.fromkeys(asked):
            places = [place for place, one in enumerate(asked) if one == prompt]

            def tell(part: int, of: int, done: int = before + len(places)) -> None:
                on_progress(done - of + part, total)

            found[name][places] = TextReader(encoder, kept, dtype=dtype, on_progress=tell).read(
                [rows[place] for place in places], dim=encoder.width, prompt=prompt
            )
            before += len(places)
            on_progress(before, total)
    return found
