"""What an encoding will be, from what was asked, the model and the texts."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import torch

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.compat import default_route, has_ways
from matryoshka_text.encoder.dtype import Dtype, checked_dtype, choose_dtype
from matryoshka_text.encoder.encode import default_tokens
from matryoshka_text.encoding.manifest import InputRecord, Manifest
from matryoshka_text.errors import ModelError
from matryoshka_text.fingerprint import weights_hash
from matryoshka_text.reading import STDIN, Texts
from matryoshka_text.vectors.codec import Stored
from matryoshka_text.versions import __version__, version_of

__all__ = ["Asked", "Opened", "opened", "planned"]

log = logging.getLogger(__name__)

_PACKAGES = ("torch", "transformers", "sentence-transformers", "tokenizers", "numpy")


@dataclass(frozen=True)
class Asked:
    """The words of `encode_file` that say what a vector is."""

    dim: int | None
    layers: int | None
    dtype: Dtype
    precision: Stored
    prompt: str | None
    prompt_name: str | None
    rows_per_part: int
    batch_tokens: int | None
    calibrate: int

    def __post_init__(self) -> None:
        if self.precision not in get_args(Stored):
            raise ModelError(f"--precision: found {self.precision!r}; allowed: {', '.join(get_args(Stored))}")
        try:
            checked_dtype(self.dtype)
        except ValueError as error:
            raise ModelError(f"--dtype: {error}") from error
        for word in ("rows_per_part", "batch_tokens", "calibrate"):
            value = getattr(self, word)
            if value is not None and value < 1:
                raise ModelError(f"--{word.replace('_', '-')}: found {value}; allowed: a whole number from 1")
        if self.prompt is not None and self.prompt_name is not None:
            raise ModelError("--prompt and --prompt-name are both given; allowed: one of them; leave one out")


@dataclass(frozen=True)
class Opened:
    """A model in memory, what it is called, and the sha256 of its files."""

    model: MatryoshkaEncoder
    name: str
    weights: str
    prompt: str | None


def opened(name: str | Path, asked: Asked, device: str) -> Opened:
    """The model of that name (for a run's folder the run's model); `ModelError` where it cannot do what is asked."""
    model = MatryoshkaEncoder(name, device=device).eval()
    for word, value in (("dim", asked.dim), ("layers", asked.layers)):
        if value is None:
            continue
        # Not every model has a depth that can be told: asked only where it is needed.
        most = model.width if word == "dim" else model.depth
        if not 1 <= value <= most:
            raise ModelError(f"--{word}: found {value}, but {name} has {most}; allowed: 1 to {most}")
    if has_ways(model):
        # Which role the texts have, nobody has said.
        if (route := default_route(model)) is None:
            raise ModelError(
                f"{name}: has a Router, with routes for queries and documents and no default; allowed: a model with "
                "one way for every text; encode in Python, with encode_query and encode_document"
            )
        log.warning("%s: has a Router; the texts go through its default route, %s", name, route)
    assert model.resolved is not None
    return Opened(model, str(name), weights_hash(model.resolved.path), _prompt(model, asked))


def _prompt(model: MatryoshkaEncoder, asked: Asked) -> str | None:
    prompts: Mapping[str, str] = model.prompts
    name = model.default_prompt_name if asked.prompt_name is None else asked.prompt_name
    if asked.prompt is not None or name is None:
        return asked.prompt
    if name not in prompts:
        raise ModelError(f"--prompt-name: found {name!r}; allowed: {', '.join(prompts) or 'none, this model has none'}")
    return prompts[name]


def planned(encoder: Opened, asked: Asked, texts: Texts, there: Manifest | None) -> Manifest:
    """The record of the encoding, once its inputs have been read through: `DataError` for rows without a text.

    `there` is the record of a run that has begun it: what was left open then is now as it was.
    """
    inputs = [] if texts.from_stdin else texts.survey()
    rows = sum(one.rows for one in inputs)
    records = tuple(InputRecord(file=one.file, sha256=one.sha256, rows=one.rows) for one in inputs)
    device = torch.device(encoder.model.device)
    auto = there.dtype if there is not None and asked.dtype == "auto" else choose_dtype(asked.dtype, device)
    sample = None
    if asked.precision == "int8":
        sample = asked.calibrate if texts.from_stdin else min(asked.calibrate, rows)
    return Manifest(
        model=encoder.name,
        weights=encoder.weights,
        width=encoder.model.width,
        dim=asked.dim or encoder.model.width,
        layers=asked.layers,
        dtype=auto,
        precision=asked.precision,
        ranges=None,
        calibrated_on=sample,
        prompt=encoder.prompt,
        column=texts.column,
        inputs=records or (InputRecord(file=STDIN, sha256=None, rows=None),),
        rows=None if texts.from_stdin else rows,
        rows_per_part=asked.rows_per_part,
        batch_tokens=asked.batch_tokens or (there.batch_tokens if there is not None else default_tokens(device)),
        versions={"matryoshka-text": __version__, **{name: v for name in _PACKAGES if (v := version_of(name))}},
        started=datetime.now(UTC),
    )
