"""The base turned by its rotation, which is learned once a run and read again on resume."""

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm import tqdm

from matryoshka_text.build.rotation import fit_settings
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.mark import model_mark
from matryoshka_text.encoder.precision import choose_precision
from matryoshka_text.encoder.rotation import turn
from matryoshka_text.errors import RunError
from matryoshka_text.files import write_whole
from matryoshka_text.heads.trained import Trained
from matryoshka_text.metrics import MetricsFile
from matryoshka_text.recipe import Recipe, rotation_dims
from matryoshka_text.rotating.vectors import vectors_by_source
from matryoshka_text.rotation import Check, Learned, Rotation, Step, learn
from matryoshka_text.training.export import export
from matryoshka_text.training.folder import RunFolder

__all__ = ["Rotated", "export_rotated", "rotated"]

log = logging.getLogger(__name__)

Texts = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Rotated:
    """A run's rotation: texts by source, and rotation.json, which is None where nothing was learned (a dry run)."""

    counts: dict[str, int]
    record: dict[str, Any] | None = None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: a step's loss at each dim, in nats, and what a check found, by dim."""
        return list(self.record["lines"]) if self.record is not None else []

    def outlook(self) -> Iterator[str]:
        """A line for each source."""
        yield from (f"{count:,} texts of {name}" for name, count in self.counts.items())

    def summary(self) -> Iterator[str]:
        """What prefixes keep of held-back texts' 10 nearest neighbours, before and after, in percent."""
        if self.record is None:
            return
        for when in ("before", "after"):
            if row := self.record["mean"][when]:
                shown = "  ".join(f"{dim}: {100 * share:.1f}" for dim, share in row.items())
                yield f"neighbours kept {when} the rotation, % ({shown})"


def rotated(
    recipe: Recipe,
    folder: RunFolder,
    encoder: MatryoshkaEncoder,
    texts: Texts,
    accelerator: Accelerator,
    *,
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
        dtype = choose_precision(recipe.precision, encoder.device)
        mark = _mark(recipe, encoder.width, texts, model)
        record = _stored(folder, mark, begun=folder.recipe.exists()) or _of_trunk(folder, mark)
        if record is None:
            store_of = folder.rotation_vectors / f"{model[:16]}-{dtype}"
            learned, lines = _learned(recipe, encoder, texts, store_of, dtype)
            record = _record(learned, lines, counts, mark)
            # The rotation last: where it is, all of it is there.
            write_whole(folder.rotation_record, json.dumps(record) + "\n")
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
    recipe: Recipe, encoder: MatryoshkaEncoder, texts: Texts, store: Path, dtype: str
) -> tuple[Learned, list[Any]]:
    """The rotation with what it was judged by, and the lines of its steps and checks."""
    section = recipe.rotation
    assert section is not None
    was_training = encoder.training
    with _bar("rotation: encoding", sum(map(len, texts.values())), "text") as bar:
        vectors = vectors_by_source(encoder, texts, store, dtype=dtype, on_progress=lambda done, total: _to(bar, done))
    encoder.train(was_training)
    settings, names = fit_settings(section, recipe.seed), list(texts)
    lines: list[dict[str, Any]] = []
    with _bar("rotation: learning", settings.steps, "step") as bar:

        def on_step(step: Step) -> None:
            loss = {"rotation": _by_text(step.per_dim)}
            lines.append({"rotation_step": step.number, "source": names[step.source], "loss": loss})
            _to(bar, step.number)

        def on_check(check: Check) -> None:
            lines.append({"rotation_step": check.step, "held_back": _by_text(check.per_dim)})
            bar.set_postfix_str(f"held-back loss {check.loss:.4f}", refresh=False)

        learned = learn(
            vectors,
            rotation_dims(section, recipe.lengths, encoder.width),
            settings,
            most=section.texts,
            held_back=section.held_back,
            on_step=on_step,
            on_check=on_check,
        )
    return learned, lines


def _record(learned: Learned, lines: list[Any], counts: dict[str, int], mark: str) -> dict[str, Any]:
    """rotation.json: what tells it from another one, what prefixes keep before and after, and the steps."""
    kept = [{**asdict(one), "before": _by_text(one.before), "after": _by_text(one.after)} for one in learned.kept]
    return {
        "fingerprint": mark,
        "dims": list(learned.rotation.dims),
        "texts": counts,
        "mean": {when: _by_text(learned.mean(after=when == "after")) for when in ("before", "after")},
        "kept": kept,
        "lines": lines,
    }


def _mark(recipe: Recipe, width: int, texts: Texts, model: str) -> str:
    """sha256 over all that decides the rotation but the machine: model, texts in order, dims, settings."""
    section = recipe.rotation
    assert section is not None
    own = section.model_dump(mode="json", exclude={"data", "dims", "frozen"})
    algorithm = fit_settings(section, recipe.seed).algorithm
    parts = [algorithm, model, list(texts.items()), rotation_dims(section, recipe.lengths, width), own, recipe.seed]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _of_trunk(folder: RunFolder, mark: str) -> dict[str, Any] | None:
    """The rotation of the run that this one is a twin of, copied; None where there is none like it."""
    trunk = RunFolder(folder.trunk) if folder.trunk is not None else None
    record = _stored(trunk, mark, begun=False) if trunk is not None else None
    if trunk is not None and record is not None:
        write_whole(folder.rotation_record, trunk.rotation_record.read_bytes())
        write_whole(folder.rotation, trunk.rotation.read_bytes())
    return record


def _stored(folder: RunFolder, mark: str, *, begun: bool) -> dict[str, Any] | None:
    """The record of the folder's rotation; None where it has none.

    One of other texts or another model is learned again, unless the run has `begun` with it: then it is a `RunError`.
    """
    if not folder.rotation.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(folder.rotation_record.read_text())
        if record["fingerprint"] == mark:
            return record
        why = "was learned from other texts or another model"
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"has a record {folder.rotation_record.name} that cannot be read ({type(error).__name__})"
    if begun:
        raise RunError(f"{folder.rotation}: {why}; put the old files back, or start again with another --out")
    log.warning("%s: %s; it is learned again", folder.rotation, why)
    return None


def _by_text(row: Mapping[int, float]) -> dict[str, float]:
    return {str(dim): value for dim, value in row.items()}


def _bar(what: str, total: int, unit: str) -> "tqdm[Any]":
    slow = 0.5 if sys.stderr.isatty() else 15
    return tqdm(total=total, desc=what, unit=unit, mininterval=slow, file=sys.stderr)


def _to(bar: "tqdm[Any]", done: int) -> None:
    bar.update(done - bar.n)
