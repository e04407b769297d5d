"""Which dim may I cut to? What prefixes keep of the neighbourhoods, from vectors only, without labels."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.dtype import Dtype, choose_dtype
from matryoshka_text.errors import DataError
from matryoshka_text.progress import Progress
from matryoshka_text.rotating.arrays import open_arrays
from matryoshka_text.rotating.checks import chosen_dims
from matryoshka_text.rotating.model import open_base
from matryoshka_text.rotating.prompts import AskedPrompts, Words
from matryoshka_text.rotating.table import kept_table
from matryoshka_text.rotating.texts import Given, Reading, read_sources
from matryoshka_text.rotating.vectors import vectors_by_source
from matryoshka_text.rotation import SourceKept, dims_to_look_at, kept_by_source, split_sources

__all__ = ["FEW", "Look", "few_of", "look_at_texts", "look_at_vectors"]

# Texts of a dry run, over all sources: encoded within a minute or two on a CPU.
FEW = 4000
_LEAST = 20


@dataclass(frozen=True)
class Look:
    """By source, what prefixes of the vectors keep; printed, it is the table."""

    kept: tuple[SourceKept, ...]
    width: int

    def __str__(self) -> str:
        return kept_table(self.kept, self.width, rotated=False)


def few_of(reading: Reading, sources: int) -> Reading:
    """`reading` with a dry run's number of texts."""
    return replace(reading, most=min(reading.most, max(FEW // max(sources, 1), 100)))


def look_at_texts(
    model: str | Path | MatryoshkaEncoder,
    texts: Given,
    dims: Sequence[int] | None = None,
    *,
    reading: Reading | None = None,
    dtype: Dtype = "float32",
    prompt: Words = None,
    prompt_name: Words = None,
    trust_remote_code: bool = False,
    progress: bool = False,
) -> Look:
    """What prefixes of the model's vectors keep of the neighbourhoods at full width; nothing is left on disk."""
    reading = reading or Reading()
    sources = read_sources(texts, reading)
    _require_enough({one.name: len(one.texts) for one in sources}, reading.most)
    base = open_base(model, rotatable=False, trust_remote_code=trust_remote_code)
    width = base.encoder.width
    asked = AskedPrompts(prompt, prompt_name).by_source(base.encoder, len(sources))
    looked = _dims(dims, base.encoder.dims, width)
    with tempfile.TemporaryDirectory() as made, Progress("encoding", "texts", shown=progress) as bar:
        vectors = vectors_by_source(
            base.encoder,
            {one.name: one.texts for one in sources},
            Path(made),
            dtype=choose_dtype(dtype, base.encoder.device),
            prompts={one.name: [words] * len(one.texts) for one, words in zip(sources, asked, strict=True)},
            on_progress=bar.reached,
        )
    return _look(vectors, looked, reading)


def look_at_vectors(
    paths: Sequence[str | Path], dims: Sequence[int] | None = None, *, reading: Reading | None = None
) -> Look:
    """The same of vectors in .npy files and in folders of `mtext encode`."""
    vectors, reading = open_arrays(paths), reading or Reading()
    counts = {name: min(len(rows), reading.most) for name, rows in vectors.items() if len(rows.shape) == 2}
    _require_enough(counts, reading.most, what="vectors")
    return _look(vectors, dims, reading)


def _dims(asked: Sequence[int] | None, trained: Sequence[int], width: int) -> tuple[int, ...]:
    """The dims asked for; where none are, those of the model and the eighths of the width."""
    chosen = chosen_dims(asked, trained, width)
    return chosen if asked else dims_to_look_at(chosen, width)


def _look(vectors: Mapping[str, np.ndarray], dims: Sequence[int] | None, reading: Reading) -> Look:
    parts = split_sources(vectors, most=reading.most, held_back=1.0, seed=reading.seed)
    width = next(iter(parts.values())).held_back.shape[1]
    return Look(kept_by_source(parts, _dims(dims, (), width)), width)


def _require_enough(counts: Mapping[str, int], most: int, *, what: str = "different texts") -> None:
    for name, count in counts.items():
        if count < _LEAST:
            way_out = f"raise --most, which is {most}" if count == most else f"add {what}, or leave it out"
            raise DataError(
                f"{name}: found {count} {what}; allowed: at least {_LEAST}, for 10 neighbours each to mean something; "
                f"{way_out}"
            )
