"""The models of an evaluation: where they are, what they are called, how wide they are."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from matryoshka_text.encoder import MatryoshkaEncoder, resolve_model
from matryoshka_text.encoder.folder import read_folder
from matryoshka_text.encoder.reread import without_reports
from matryoshka_text.errors import ModelError

__all__ = ["Subject", "open_subject", "open_subjects", "open_twins"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """A model found on this machine; its weights are opened only when something has to be encoded.

    `only`: the one dim that it was trained for and is scored at (a fixed-feature twin, FF); None: every dim.
    `layers`: how many of its transformer layers are run; None: all. `depth`: how many it has; None: unknown.
    `unit`: its vectors have length 1. `similarity`: what it says that its vectors are compared with: cosine, dot,
    euclidean or manhattan. `code`: the Python code that it brings along may be run.
    """

    name: str
    label: str
    path: Path
    origin: Literal["folder", "cache", "hub", "package"]
    weights: str
    width: int
    dims: tuple[int, ...] | None
    only: int | None = None
    layers: int | None = None
    unit: bool = False
    similarity: str = "cosine"
    depth: int | None = None
    code: bool = False

    def with_layers(self, layers: int) -> "Subject":
        """The model with only its first `layers` layers, named so; `ModelError` if it has no such number."""
        if self.depth is not None and not 1 <= layers <= self.depth:
            raise ModelError(f"--layers: found {layers}, but {self.label} has {self.depth}; allowed: 1 to {self.depth}")
        if layers == self.depth:
            return self
        return replace(self, layers=layers, label=f"{self.label}-layers-{layers}")

    def encoder(self, device: str | None) -> MatryoshkaEncoder:
        """The opened model, giving full width whatever its configuration cuts by default, and lengths as they are."""
        with without_reports():
            encoder = MatryoshkaEncoder(str(self.path), device=device, trust_remote_code=self.code)
        encoder.truncate_dim = None
        if not self.unit:
            # Ours always end in Normalize; mteb and its users get what the model itself gives.
            del encoder[-1]
        return encoder.eval()


def open_subjects(names: Sequence[str], *, trust_remote_code: bool = False) -> tuple[Subject, ...]:
    """The models in the order given, each once, with different labels. `ModelError` for one that cannot be had."""
    found: dict[str, Subject] = {}
    for name in names:
        subject = open_subject(name, trust_remote_code=trust_remote_code)
        if found.setdefault(subject.weights, subject) is not subject:
            log.warning("%s: has the very weights of %s; scored once", name, found[subject.weights].path)
    labels = Counter(subject.label for subject in found.values())
    return tuple(
        replace(one, label=f"{one.label}@{one.weights[:6]}") if labels[one.label] > 1 else one for one in found.values()
    )


def open_subject(name: str, *, trust_remote_code: bool = False) -> Subject:
    """The model of that name; for a run's folder the run's model. Its files are checked, its weights not yet opened."""
    resolved = resolve_model(name, with_code=trust_remote_code)
    folder = read_folder(resolved, trust_remote_code=trust_remote_code)
    width = folder.width
    if width is None:
        width = MatryoshkaEncoder(str(resolved.path), device="cpu", trust_remote_code=trust_remote_code).width
    org_name = _folder_name(resolved.path) if resolved.origin == "folder" else resolved.name
    if "/" not in org_name:
        # mteb needs a slash; a few of the oldest hub ids have none.
        org_name = f"{'local' if resolved.origin == 'folder' else 'hub'}/{org_name}"
    return Subject(
        name=org_name,
        label=org_name.rpartition("/")[2],
        path=resolved.path,
        origin=resolved.origin,
        weights=resolved.weights(),
        width=width,
        dims=folder.trained_dims,
        unit=folder.ends_in_normalize,
        depth=folder.depth,
        code=trust_remote_code,
        similarity=folder.similarity,
    )


def _folder_name(path: Path) -> str:
    """What a saved model is called: its folder, for <run>/model the run, for <run>/twins/<twin>/model both."""
    named = path.parent if path.name in ("model", "checkpoint") and path.parent.name else path
    is_twin = named != path and named.parent.name == "twins"
    words = f"{named.parent.parent.name}-{named.name}" if is_twin else named.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-.") or "model"


_WAY_OUT = (
    "put `twins: [ff, plain]` into the recipe, or train them with mtext train RECIPE --resume --twin ff --twin plain, "
    "or leave out --twins"
)


def open_twins(subject: Subject) -> tuple[Subject, ...]:
    """<run>/twins of the model <run>/model: the plain twin, and those trained at one dim only (FF), dims upwards.

    `ModelError` if there is no twin, or where one has no model yet.
    """
    folder = subject.path.parent / "twins"
    if subject.path.name != "model" or not folder.is_dir():
        found = f"there is no folder {folder}" if subject.path.name == "model" else "its folder is no <run>/model"
        raise ModelError(f"--twins: {subject.path}: has no twins, {found}; {_WAY_OUT}")
    alone = {dim: place for place in folder.iterdir() if (dim := _dim_of(place.name))}
    places = [place for place in (folder / "plain",) if place.is_dir()] + [alone[dim] for dim in sorted(alone)]
    if not places:
        raise ModelError(f"--twins: {folder}: holds neither plain nor ff-<dim>; {_WAY_OUT}")
    unfinished = [place.name for place in places if not (place / "model" / "config.json").is_file()]
    if unfinished:
        raise ModelError(
            f"--twins: {folder}: {', '.join(unfinished)} has no model/, so its training did not end; "
            f"train on with --resume, or remove {'it' if len(unfinished) == 1 else 'them'}"
        )
    return tuple(_twin(place, subject.layers, code=subject.code) for place in places)


def _dim_of(name: str) -> int | None:
    dim = name.removeprefix("ff-")
    return int(dim) if name.startswith("ff-") and dim.isdecimal() and dim.isascii() else None


def _twin(place: Path, layers: int | None, *, code: bool) -> Subject:
    found, dim = open_subject(str(place / "model"), trust_remote_code=code), _dim_of(place.name)
    whole = replace(found, label=f"FF-{dim}" if dim else "plain", only=dim)
    return whole if layers is None else replace(whole.with_layers(layers), label=whole.label)
