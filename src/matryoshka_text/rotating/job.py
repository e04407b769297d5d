"""Texts and a model in, a rotated model out: encoded once, going on after a kill, the same bits again."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.dtype import Dtype, checked_dtype, choose_dtype
from matryoshka_text.errors import ModelError
from matryoshka_text.files import held, require_space, write_whole
from matryoshka_text.metrics import MetricsFile
from matryoshka_text.records import require_same, write_record
from matryoshka_text.rotating.checks import HELD_BACK, chosen_dims, require_enough, require_split
from matryoshka_text.rotating.folder import RotationFolder
from matryoshka_text.rotating.learning import How, learn_from_texts, line_of_check
from matryoshka_text.rotating.model import Base, open_base, save_rotated
from matryoshka_text.rotating.prompts import AskedPrompts, Words
from matryoshka_text.rotating.record import Record, SourceRecord, identity, kept_of, kept_records
from matryoshka_text.rotating.table import kept_table
from matryoshka_text.rotating.texts import Given, Reading, SourceTexts, read_sources
from matryoshka_text.rotation import FitSettings, Learned, Rotation, SourceKept
from matryoshka_text.versions import surroundings

__all__ = ["Rotated", "rotate"]

log = logging.getLogger(__name__)

_PACKAGES = ("torch", "transformers", "sentence-transformers", "tokenizers", "numpy", "safetensors")


@dataclass(frozen=True)
class Rotated:
    """A rotated encoder, its rotation, and by source what prefixes keep before and after; printed, it is that table.

    `folder` is where it was written, and `new` whether that was now.
    """

    encoder: MatryoshkaEncoder = field(repr=False)
    rotation: Rotation = field(repr=False)
    kept: tuple[SourceKept, ...]
    folder: Path | None = None
    new: bool = True

    def __str__(self) -> str:
        return kept_table(self.kept, self.rotation.width)


@dataclass(frozen=True)
class _Asked:
    """The arguments of `rotate` that say what comes out."""

    dims: Sequence[int] | None
    reading: Reading
    split: int
    settings: FitSettings
    dtype: Dtype
    prompts: AskedPrompts

    def __post_init__(self) -> None:
        require_split(self.split)
        try:
            checked_dtype(self.dtype)
        except ValueError as error:
            raise ModelError(f"--dtype: {error}") from error


def rotate(
    model: str | Path | MatryoshkaEncoder,
    texts: Given,
    dims: Sequence[int] | None = None,
    *,
    out: str | Path | None = None,
    columns: Sequence[str] = ("text",),
    most: int = 20_000,
    max_characters: int = 400,
    split: int = 1,
    settings: FitSettings | None = None,
    dtype: Dtype = "float32",
    prompt: Words = None,
    prompt_name: Words = None,
    trust_remote_code: bool = False,
    progress: bool = False,
) -> Rotated:
    """`model`, its vectors multiplied by an orthogonal matrix learned from `texts`, so that prefixes work better.

    Cosines at full width stay as they are. `texts` are a list of strings, a mapping from a source's name to its texts,
    or files as `Path` objects; each source should be texts of one kind. Of each at most `most` different texts are
    drawn by the seed of `settings`, and cut at `max_characters`: the beginning of a passage is enough to learn from,
    and is encoded faster. `split` divides each source into so many by k-means. `dims` None: the model's trained dims,
    or halvings of its width. `prompt` is put before every text, `prompt_name` names one of the model's own, and a list
    has one for each source; without them, each text gets what `encode` puts there.
    `trust_remote_code`: run the Python code that the model brings along.

    `out` gets model/, rotation.safetensors, rotation.json, metrics.jsonl, table.txt and vectors/; the same call goes on
    where it was killed, and comes to the same bits on the same machine. Errors are `MtextError`s.
    """
    fit = settings or FitSettings()
    reading = Reading(tuple(columns), most, max_characters, fit.seed)
    asked = _Asked(
        dims=dims, reading=reading, split=split, settings=fit, dtype=dtype, prompts=AskedPrompts(prompt, prompt_name)
    )
    if out is None:
        with tempfile.TemporaryDirectory() as made:
            run, record = _prepared(model, texts, asked, None, progress=progress, code=trust_remote_code)
            learned = run.learned(record, Path(made))
        return Rotated(run.base.encoder.rotated(learned.rotation), learned.rotation, learned.kept)
    folder = RotationFolder(Path(out))
    with held(folder.path, doing="learning a rotation"):
        there = folder.earlier()
        run, record = _prepared(model, texts, asked, there, progress=progress, code=trust_remote_code)
        return run.into(folder, record, there)


def _prepared(
    model: str | Path | MatryoshkaEncoder,
    texts: Given,
    asked: _Asked,
    there: Record | None,
    *,
    progress: bool,
    code: bool,
) -> tuple["_Run", Record]:
    """The run, its texts read and its model opened, and its record; `there` is what an earlier run has begun."""
    sources = read_sources(texts, asked.reading)
    base = open_base(model, trust_remote_code=code)
    record = _record(base, sources, asked, there)
    require_enough({one.name: len(one.texts) for one in sources}, record.width, asked.settings)
    return _Run(base, sources, asked, progress), record


def _record(base: Base, sources: Sequence[SourceTexts], asked: _Asked, there: Record | None) -> Record:
    prompts = asked.prompts.by_source(base.encoder, len(sources))
    device = torch.device(base.encoder.device)
    auto = there.dtype if there is not None and asked.dtype == "auto" else choose_dtype(asked.dtype, device)
    return Record(
        model=base.name,
        weights=base.weights,
        width=base.encoder.width,
        dims=chosen_dims(asked.dims, base.encoder.dims, base.encoder.width),
        sources=tuple(
            SourceRecord(
                name=one.name,
                file=one.file,
                columns=one.columns,
                sha256=one.sha256,
                read=one.read,
                blank=one.blank,
                used=len(one.texts),
            )
            for one in sources
        ),
        most=asked.reading.most,
        max_characters=asked.reading.max_characters,
        split=asked.split,
        held_back=HELD_BACK,
        dtype=auto,
        prompt=prompts if len(set(prompts)) > 1 else prompts[0],
        fit=asdict(asked.settings),
        environment=surroundings(device, _PACKAGES),
        started=datetime.now(UTC),
    )


@dataclass(frozen=True)
class _Run:
    """A rotation being made."""

    base: Base
    sources: Sequence[SourceTexts]
    asked: _Asked
    progress: bool

    def into(self, folder: RotationFolder, wanted: Record, there: Record | None) -> Rotated:
        """The rotation in its folder, which is held, made as far as it is not there yet."""
        if there is not None:
            require_same(folder.path, identity(there), identity(wanted), what="rotation")
            if folder.finished:
                return self._found(folder, there)
            if there.environment != wanted.environment:
                log.warning("%s: was begun with other versions or threads; the last bits may differ", folder.path)
        record = there or wanted
        folder.sweep()
        if there is None:
            needed = 4 * record.width * sum(one.used for one in record.sources)
            require_space(folder.path, needed, what="the vectors of the texts")
            write_record(folder.record, record)
        with _metrics(folder.metrics) as write:
            learned = self.learned(record, folder.vectors, write)
        return self._written(folder, record, learned)

    def learned(
        self, record: Record, store: Path, write: Callable[[dict[str, Any]], object] = lambda line: None
    ) -> Learned:
        """The rotation of the sources' vectors, which are kept in `store`."""
        texts = {one.name: one.texts for one in self.sources}
        how = How(
            record.dims,
            self.asked.settings,
            most=record.most,
            held_back=record.held_back,
            dtype=record.dtype,
            split=record.split,
            prompts={
                one.name: [prompt] * len(one.texts) for one, prompt in zip(self.sources, record.prompts, strict=True)
            },
        )
        learned = learn_from_texts(self.base.encoder, texts, store, how, progress=self.progress, write=write)
        known = {"model": record.model, "weights": record.weights, **learned.rotation.record}
        return Learned(Rotation(learned.rotation.matrix, record.dims, known), learned.kept, learned.checks)

    def _written(self, folder: RotationFolder, record: Record, learned: Learned) -> Rotated:
        learned.rotation.save(folder.rotation)
        write_whole(folder.table, kept_table(learned.kept, record.width))
        results = {
            "checks": tuple(line_of_check(check) for check in learned.checks),
            "kept": kept_records(learned.kept),
            "finished": datetime.now(UTC),
        }
        write_record(folder.record, record.model_copy(update=results))
        encoder = save_rotated(self.base, learned.rotation, folder.model)
        return Rotated(encoder, learned.rotation, learned.kept, folder.path)

    def _found(self, folder: RotationFolder, record: Record) -> Rotated:
        rotation = Rotation.open(folder.rotation)
        return Rotated(self.base.encoder.rotated(rotation), rotation, kept_of(record.kept), folder.path, new=False)


@contextmanager
def _metrics(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What writes a line of metrics.jsonl, which is begun again: so is the fit."""
    file = MetricsFile(path, keep=0)
    try:
        yield file.write
        file.sync()
    finally:
        file.close()
