"""What an encoding will be, from what was asked, the model and the texts."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import torch

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.compat import default_route, has_ways
from matryoshka_text.encoder.dtype import Dtype, checked_dtype, choose_dtype
from matryoshka_text.encoder.encode import default_tokens
from matryoshka_text.encoder.prompts import ROLES, Role, asked_prompt
from matryoshka_text.encoding.manifest import MOST, MOST_PARTS, InputRecord, Manifest
from matryoshka_text.errors import ModelError
from matryoshka_text.prompts import ModelPrompts
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
    role: Role | None
    rows_per_part: int
    batch_tokens: int | None
    calibrate: int

    def __post_init__(self) -> None:
        if self.precision not in get_args(Stored):
            allowed = f"{', '.join(get_args(Stored))}, which may also be called binary"
            raise ModelError(f"--precision: found {self.precision!r}; allowed: {allowed}")
        if self.role not in (None, *ROLES):
            raise ModelError(f"--role: found {self.role!r}; allowed: {', '.join(ROLES)}; leave it out for neither")
        try:
            checked_dtype(self.dtype)
        except ValueError as error:
            raise ModelError(f"--dtype: {error}") from error
        for word in ("rows_per_part", "batch_tokens", "calibrate"):
            value = getattr(self, word)
            if value is not None and not 1 <= value <= MOST:
                key = word.replace("_", "-")
                raise ModelError(f"--{key}: found {value}; allowed: whole numbers from 1 to {MOST:,}")


@dataclass(frozen=True)
class Opened:
    """A model in memory, what it is called, and the sha256 of its files."""

    model: MatryoshkaEncoder
    name: str
    weights: str
    prompt: str


def opened(name: str | Path, asked: Asked, device: str, *, trust_remote_code: bool = False) -> Opened:
    """The model of that name (for a run's folder the run's model); `ModelError` if it cannot do what is asked."""
    model = MatryoshkaEncoder(name, device=device, trust_remote_code=trust_remote_code).eval()
    for word, value in (("dim", asked.dim), ("layers", asked.layers)):
        if value is None:
            continue
        # Not every model has a depth that can be told: asked only where it is needed.
        most = model.width if word == "dim" else model.depth
        if not 1 <= value <= most:
            raise ModelError(f"--{word}: found {value}, but {name} has {most}; allowed: 1 to {most}")
    if has_ways(model) and asked.role is None:
        if (route := default_route(model)) is None:
            raise ModelError(
                f"{name}: has a Router, with routes for queries and documents and no default; allowed: a model with "
                "one way for every text, or --role query or --role document"
            )
        log.warning("%s: has a Router; the texts go through its default route, %s (--role picks one)", name, route)
    assert model.resolved is not None
    prompt = asked_prompt(model, prompt=asked.prompt, name=asked.prompt_name)
    words = ModelPrompts.of(model).text(asked.role) if prompt is None else prompt
    return Opened(model, str(name), model.resolved.weights(), words)


def planned(encoder: Opened, asked: Asked, texts: Texts, there: Manifest | None) -> Manifest:
    """The record of the encoding, once its inputs have been read through: `DataError` for rows without a text.

    `there` is the record of a run that has begun it: what was left open then is now as it was.
    """
    inputs = [] if texts.from_stdin else texts.survey()
    rows = sum(one.rows for one in inputs)
    if rows > MOST_PARTS * asked.rows_per_part:
        raise ModelError(
            f"--rows-per-part: found {asked.rows_per_part}, which makes more than {MOST_PARTS:,} parts of {rows:,} "
            "texts; give a larger number"
        )
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
        prompt=encoder.prompt or None,
        role=asked.role,
        column=texts.column,
        inputs=records or (InputRecord(file=STDIN, sha256=None, rows=None),),
        rows=None if texts.from_stdin else rows,
        rows_per_part=asked.rows_per_part,
        batch_tokens=asked.batch_tokens or (there.batch_tokens if there is not None else default_tokens(device)),
        versions={"matryoshka-text": __version__, **{name: v for name in _PACKAGES if (v := version_of(name))}},
        started=datetime.now(UTC),
    )
