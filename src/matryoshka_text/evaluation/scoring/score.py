"""One model on one task: encode once, score every view from the stored vectors."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import mteb
from threadpoolctl import threadpool_limits

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.models import Subject
from matryoshka_text.evaluation.mteb_compat import own_data_cache, quiet
from matryoshka_text.evaluation.mteb_encoder import StoredEncoder, mteb_prompts
from matryoshka_text.evaluation.rotations import Fit, Given, require_enough, rotation_of
from matryoshka_text.evaluation.scoring.bootstrap import interval
from matryoshka_text.evaluation.scoring.collect import items_of, observed
from matryoshka_text.evaluation.scoring.items import Items, items_path, write_items
from matryoshka_text.evaluation.scoring.results import model_meta, save_result
from matryoshka_text.evaluation.settings import Settings, new_row, prompts_digest, versions
from matryoshka_text.evaluation.tasks.checks import require_readable
from matryoshka_text.evaluation.tasks.languages import require_vocabulary
from matryoshka_text.evaluation.tasks.loaded import LoadedTask, document_role, documents_of
from matryoshka_text.evaluation.tasks.planned import PlannedTask
from matryoshka_text.evaluation.tasks.sample import Sample, texts_within
from matryoshka_text.files import write_whole
from matryoshka_text.rotation import Rotation
from matryoshka_text.rows import Row
from matryoshka_text.vectors.reader import ROLE_SETTINGS, TextReader
from matryoshka_text.vectors.store import VectorStore
from matryoshka_text.vectors.views import Cut, Fitted, View, bytes_per_vector, cut_of

__all__ = ["Scorer", "load_task"]


def load_task(planned: PlannedTask) -> LoadedTask:
    """The task with its data in memory, its splits and columns checked; its objects keep what they score by item."""
    watching = replace(planned, task_class=observed(planned.task_class))
    with quiet(), own_data_cache(planned.fingerprint):
        loaded = LoadedTask(watching.make)
        require_readable(loaded, str(planned.folder or planned.data))
    return loaded


@dataclass
class Scorer:
    """One opened model on one loaded task; its vectors are read from disk, and what is missing there is encoded.

    `sample`: gives the texts that components and ranges are taken from; called if a view needs them. `fit`: how a
    rotation is fitted on the task's documents, which `say` is told of; `given`: a rotation from a file.
    """

    planned: PlannedTask
    loaded: LoadedTask
    subject: Subject
    encoder: Any
    settings: Settings
    sample: Callable[[], Sample]
    fit: Fit | None = None
    given: Given | None = None
    say: Callable[[str], None] = lambda line: None
    on_progress: Callable[[int, int], None] = lambda done, total: None
    _fits: dict[str, Fitted] = field(default_factory=dict)

    def rows(self, view: View) -> list[Row]:
        """A row for each split; mteb's result file and the items are written before they are given."""
        task, settings = self.loaded.fresh(), self.settings
        encoder = self.encoder_of(view)
        # The threads of numpy's BLAS fight over matrices as small as these: Banking77 at 6 dims took 59 s on two busy
        # cores and 4 s with one thread, scores equal (2026). torch, which encodes and searches, keeps its own threads.
        with quiet(), threadpool_limits(limits=1, user_api="blas"):
            result = mteb.evaluate(
                encoder,
                task,
                cache=None,
                co2_tracker=False,
                encode_kwargs={"show_progress_bar": False},
                show_progress_bar=False,
            ).task_results[0]
        self._require_numbers(result, view)
        save_result(settings.out, result, encoder.mteb_model_meta, encode_kwargs={"show_progress_bar": False})
        return [self._row(result, view, split, items_of(task, result, split)) for split in self.loaded.splits]

    def encoder_of(self, view: View) -> StoredEncoder:
        """What mteb scores: the stored vectors, cut for the view."""
        cut = cut_of(
            view,
            width=self.subject.width,
            unit=self.subject.unit,
            normalize=self.settings.normalize,
            fitted=lambda: self._fitted(view)[0],
            rotation=self._rotation(view),
        )
        return self._stored(view, cut)

    @cached_property
    def reader(self) -> TextReader:
        """The vectors of the task's texts."""
        return self._reader(self.planned.name)

    def _reader(self, place: str) -> TextReader:
        return TextReader(
            self.encoder,
            VectorStore(self._encodings / place.replace("/", "__"), self.subject.width),
            batch_size=self.settings.batch_size,
            dtype=self.settings.dtype,
            layers=self.subject.layers,
            on_progress=self.on_progress,
            before=self._require_vocabulary,
            elsewhere=", or name another disk's folder in MTEXT_VECTOR_STORE",
        )

    def _require_vocabulary(self, texts: Sequence[str]) -> None:
        require_vocabulary(self.encoder.tokenizer, texts, task=self.planned.name, model=self.subject.label)

    @cached_property
    def _encodings(self) -> Path:
        """One folder per model and way of encoding; what the way was stands in encoding.json."""
        encoding = {
            "weights": self.subject.weights,
            "modules": [str(module) for module in self.encoder if not hasattr(module, "auto_model")],
            "max_seq_length": self.encoder.max_seq_length,
            "dtype": str(self.encoder.dtype),
            "device": self.encoder.device.type,
            "versions": {
                name: number for name, number in versions().items() if name not in ("mteb", "matryoshka-text")
            },
        }
        if self.settings.dtype != "float32":
            encoding["arithmetic"] = self.settings.dtype
        if self.subject.layers is not None:
            encoding["layers"] = self.subject.layers
        # They are in the weights' hash, but such a model's texts were once kept without their role.
        by_role = {name: found for name in ROLE_SETTINGS if (found := getattr(self.encoder[0], name, None)) is not None}
        if by_role:
            encoding["by_role"] = by_role
        text = json.dumps(encoding, indent=2, sort_keys=True) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        name = f"{self.subject.weights[:12]}-{digest}"
        folder = self.settings.vectors / self.subject.name.replace("/", "__") / name
        if not (folder / "encoding.json").exists():
            write_whole(folder / "encoding.json", text)
        return folder

    def _stored(self, view: View, cut: Cut) -> StoredEncoder:
        told = self.settings.told(self.sample if view.needs_sample else None)
        prompts = mteb_prompts(self.encoder.prompts, self.settings.prompts)
        return StoredEncoder(
            self.reader, model_meta(self.subject, self.encoder, view, **told), cut=cut, prompts=prompts
        )

    def _fitted(self, view: View) -> tuple[Fitted, Sample]:
        """The sample's vectors: all of them for ranges; for components, none of a text that the task's data have."""
        sample = self.sample()
        if view.method != "first":
            sample = sample.without(self._own_texts)
        if sample.digest not in self._fits:
            # One place for all tasks: the vectors are those of the whole sample.
            reader = self._reader(f"sample-{self.sample().digest[:16]}")
            self._fits[sample.digest] = Fitted(reader.read(sample.texts, dim=self.subject.width))
            self.reader.counts.seconds += reader.counts.seconds
            self.reader.counts.encoded += reader.counts.encoded
        return self._fits[sample.digest], sample

    @cached_property
    def _own_texts(self) -> set[str]:
        return self.sample().shared_with(texts_within(self.loaded.data))

    def _rotation(self, view: View) -> Callable[[], Any] | None:
        """Gives the matrix that the view's vectors are multiplied by; None if they are not."""
        if view.method == "rotation" and self.fit is not None:
            require_enough(self.documents, self.fit)
            return lambda: self.of_documents.matrix
        given = self.given
        return None if given is None or view.rotation is None else lambda: given.rotation.matrix

    @cached_property
    def documents(self) -> Sample:
        """The task's different documents, on which a rotation is fitted."""
        return documents_of(self.loaded.fresh(), seed=self.settings.seed)

    @cached_property
    def of_documents(self) -> Rotation:
        """Fitted on the task's documents, which are encoded as they are for scoring. `EvaluationError` if they are too
        few.
        """
        assert self.fit is not None
        role, width = document_role(self.loaded.fresh()), self.subject.width
        stored = self._stored(View(width), Cut(width, lambda vectors: vectors))
        prompt, kind = stored.prompt_of(self.loaded.metadata, role), role.value if role else ""
        return rotation_of(
            self.settings.vectors / "rotations" / self._encodings.relative_to(self.settings.vectors),
            self.documents,
            self.fit,
            lambda texts: self.reader.read(texts, role=kind, prompt=prompt, dim=width),
            encoding=json.dumps([kind, prompt]),
            say=self.say,
            on_progress=self.on_progress,
        )

    def _require_numbers(self, result: Any, view: View) -> None:
        for split in self.loaded.splits:
            score = float(result.get_score(splits=[split]))
            if score != score:
                raise EvaluationError(
                    f"{self.planned.name}, {split}: the score at {view.dim} dims is NaN; "
                    "all vectors, or all labels, are equal"
                )

    def _row(self, result: Any, view: View, split: str, items: Items | None) -> Row:
        """The split's row; the task's items are written before it is given."""
        settings, sample = self.settings, self._fitted(view)[1].digest if view.needs_sample else None
        row = new_row(
            self.planned,
            self.subject,
            split=split,
            dim=view.dim,
            width=self.subject.width,
            method=view.method,
            seed=view.seed,
            precision=view.precision,
            bytes_per_vector=bytes_per_vector(view.dim, view.precision),
            score=100 * float(result.get_score(splits=[split])),
            interval=interval(items, seed=settings.seed) if items is not None else None,
            normalize=settings.normalize,
            prompts=prompts_digest(settings.prompts),
            sample=self.documents.digest if view.method == "rotation" else sample,
            rotation=view.rotation,
            settings=settings.digest(
                self.sample if view.needs_sample else None, view.rotation, settings.similarity_of(self.subject)
            ),
        )
        if items is not None:
            write_items(items_path(settings.out, row), items)
        return row
