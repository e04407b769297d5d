"""The base turned by its rotation, which is learned once a run and read again on resume."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict

from matryoshka_text.build.parts import Trained
from matryoshka_text.build.rotation import fit_settings
from matryoshka_text.data import RotationTexts
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.dtype import choose_dtype
from matryoshka_text.encoder.mark import model_mark
from matryoshka_text.encoder.rotation import turn
from matryoshka_text.errors import RunError
from matryoshka_text.files import write_whole
from matryoshka_text.metrics import MetricsFile
from matryoshka_text.recipe import Recipe, rotation_dims
from matryoshka_text.records import read_record, write_record
from matryoshka_text.rotating.learning import How, learn_from_texts
from matryoshka_text.rotating.record import KeptRecord, kept_of, kept_records
from matryoshka_text.rotation import Learned, Rotation, mean_kept
from matryoshka_text.training.export import export
from matryoshka_text.training.folder import RunFolder

__all__ = ["Rotated", "export_rotated", "rotated"]

log = logging.getLogger(__name__)

Texts = Mapping[str, RotationTexts]


class RotationRecord(BaseModel):
    """rotation.json of a run: what tells its rotation from another one, what prefixes keep, and the lines of metrics.

    `texts` counts them by source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    dims: tuple[int, ...]
    texts: dict[str, int]
    kept: tuple[KeptRecord, ...]
    lines: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Rotated:
    """A run's rotation: texts by source, and rotation.json, which is None if nothing was learned (a dry run)."""

    counts: dict[str, int]
    record: RotationRecord | None = None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: a step's loss at each dim, in nats, and what a check found, by dim."""
        return list(self.record.lines) if self.record is not None else []

    def outlook(self) -> Iterator[str]:
        """A line for each source."""
        yield from (f"{count:,} texts of {name}" for name, count in self.counts.items())

    def summary(self) -> Iterator[str]:
        """What prefixes keep of held-back texts' 10 nearest neighbours, before and after, in percent."""
        if self.record is None:
            return
        for when in ("before", "after"):
            if row := mean_kept(kept_of(self.record.kept), after=when == "after"):
                shown = "  ".join(f"{dim}: {100 * share:.1f}" for dim, share in row.items())
                yield f"neighbours kept {when} the rotation, % ({shown})"


def rotated(
    recipe: Recipe,
    folder: RunFolder,
    encoder: MatryoshkaEncoder,
    texts: Texts,
    *,
    accelerator: Accelerator,
    store: bool,
) -> Rotated | None:
    """Turn `encoder` in place by the rotation of `recipe` (dims spelled out); None, and nothing, without one.

    The main process learns it, unless `folder` or the run that this is a twin of has it; the others wait and read.
    Where `store` is false nothing is learned or turned.
    """
    section = recipe.rotation
    if section is None:
        return None
    counts = {name: len(rows) for name, rows in texts.items()}
    if not store:
        return Rotated(counts)
    with accelerator.main_process_first():
        model = model_mark(encoder)
        dtype = choose_dtype(recipe.precision, encoder.device)
        mark = _mark(recipe, encoder.width, texts, model)
        record = _stored(folder, mark, begun=folder.recipe.exists()) or _of_trunk(folder, mark)
        if record is None:
            store_of = folder.rotation_vectors / f"{model[:16]}-{dtype}"
            learned, lines = _learned(recipe, encoder, texts, store_of, dtype=dtype)
            record = RotationRecord(
                fingerprint=mark,
                dims=learned.rotation.dims,
                texts=counts,
                kept=kept_records(learned.kept),
                lines=tuple(lines),
            )
            # The rotation last: where it is, all of it is there.
            write_record(folder.rotation_record, record)
            learned.rotation.save(folder.rotation)
        if accelerator.is_main_process:
            shutil.rmtree(folder.rotation_vectors, ignore_errors=True)
    turn(encoder, Rotation.open(folder.rotation))
    if section.frozen:
        encoder[-2].requires_grad_(False)
    return Rotated(counts, record)


def export_rotated(folder: RunFolder, trained: Trained, recipe: Recipe, rotation: Rotated) -> None:
    """metrics.jsonl and the model of a run without objectives: the base as it was turned."""
    metrics = MetricsFile(folder.metrics, keep=0)
    metrics.write_all(rotation.lines)
    metrics.close()
    export(trained, recipe, folder.model)


def _learned(
    recipe: Recipe, encoder: MatryoshkaEncoder, texts: Texts, store: Path, *, dtype: str
) -> tuple[Learned, list[Any]]:
    """The rotation with what it was judged by, and the lines of its steps and checks."""
    section = recipe.rotation
    assert section is not None
    how = How(
        rotation_dims(section, recipe.lengths, encoder.width),
        fit_settings(section, recipe.seed),
        most=section.texts,
        held_back=section.held_back,
        dtype=dtype,
        prompts=_prompts(recipe, texts),
    )
    was_training = encoder.training
    lines: list[dict[str, Any]] = []
    rows = {name: one.texts for name, one in texts.items()}
    learned = learn_from_texts(encoder, rows, store, how, progress=True, write=lines.append)
    encoder.train(was_training)
    return learned, lines


def _prompts(recipe: Recipe, texts: Texts) -> dict[str, list[str]]:
    """What is put before each text, by source."""
    return {name: [recipe.prompts.text(one) for one in found.prompts] for name, found in texts.items()}


def _mark(recipe: Recipe, width: int, texts: Texts, model: str) -> str:
    """sha256 over all that decides the rotation but the machine: model, texts in order, prompts, dims, settings."""
    section = recipe.rotation
    assert section is not None
    own = section.model_dump(mode="json", exclude={"data", "dims", "frozen"})
    algorithm = fit_settings(section, recipe.seed).algorithm
    rows, prompts = [(name, found.texts) for name, found in texts.items()], _prompts(recipe, texts)
    parts = [algorithm, model, rows, rotation_dims(section, recipe.lengths, width), own, recipe.seed]
    if any(map(any, prompts.values())):
        parts.append(prompts)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _of_trunk(folder: RunFolder, mark: str) -> RotationRecord | None:
    """The rotation of the run that this one is a twin of, copied; None if there is none like it."""
    trunk = RunFolder(folder.trunk) if folder.trunk is not None else None
    record = _stored(trunk, mark, begun=False) if trunk is not None else None
    if trunk is not None and record is not None:
        write_whole(folder.rotation_record, trunk.rotation_record.read_bytes())
        write_whole(folder.rotation, trunk.rotation.read_bytes())
    return record


def _stored(folder: RunFolder, mark: str, *, begun: bool) -> RotationRecord | None:
    """The record of the folder's rotation; None if it has none.

    One of other texts or another model is learned again, unless the run has `begun` with it: then it is a `RunError`.
    """
    if not folder.rotation.exists():
        return None
    try:
        record = read_record(folder.rotation_record, RotationRecord, "mtext train")
        if record.fingerprint == mark:
            return record
        why = "was learned from other texts or another model"
    except RunError:
        why = f"has a record {folder.rotation_record.name} that cannot be read"
    if begun:
        raise RunError(f"{folder.rotation}: {why}; put the old files back, or start again with another --out")
    log.warning("%s: %s; it is learned again", folder.rotation, why)
    return None
