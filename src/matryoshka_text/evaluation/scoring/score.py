"""One model on one task: encode once, score every view from the stored vectors."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import mteb
from threadpoolctl import threadpool_limits

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.scoring.bootstrap import interval
from matryoshka_text.evaluation.scoring.collect import items_of, with_items
from matryoshka_text.evaluation.scoring.corpus import require_enough, rotation_of
from matryoshka_text.evaluation.scoring.items import Items, items_path, write_items
from matryoshka_text.evaluation.scoring.quiet import quiet
from matryoshka_text.evaluation.scoring.results import model_meta, save_result
from matryoshka_text.evaluation.stage import Settings, prompts_digest, versions
from matryoshka_text.evaluation.subject import Subject
from matryoshka_text.evaluation.tasks.check import require_readable
from matryoshka_text.evaluation.tasks.documents import document_role, documents_of
from matryoshka_text.evaluation.tasks.languages import require_vocabulary
from matryoshka_text.evaluation.tasks.loaded import LoadedTask, own_data_cache
from matryoshka_text.evaluation.tasks.planned import PlannedTask
from matryoshka_text.evaluation.tasks.sample import Sample, texts_within
from matryoshka_text.evaluation.vectors.adapter import StoredEncoder, mteb_prompts
from matryoshka_text.evaluation.vectors.cut import Cut, Fitted, cut_of
from matryoshka_text.evaluation.vectors.turn import Turns
from matryoshka_text.evaluation.vectors.view import View, bytes_per_vector
from matryoshka_text.files import write_whole
from matryoshka_text.rotation import Rotation
from matryoshka_text.rows import Row
from matryoshka_text.vectors.reader import TextReader
from matryoshka_text.vectors.store import VectorStore

__all__ = ["Scorer", "load_task"]


def load_task(planned: PlannedTask) -> LoadedTask:
    """The task with its data in memory, its splits and columns checked; its objects keep what they score by item."""
    collecting = replace(planned, task_class=with_items(planned.task_class))
    with quiet(), own_data_cache(planned.fingerprint):
        loaded = LoadedTask(collecting.make)
        require_readable(loaded, str(planned.folder or planned.data))
    return loaded


class Scorer:
    """One opened model on one loaded task; its vectors are read from disk, and what is missing there is encoded.

    `sample`: the texts that components and ranges are taken from; called where a view needs them. `turns`: None where
    no view is rotated.
    """

    def __init__(
        self,
        planned: PlannedTask,
        loaded: LoadedTask,
        subject: Subject,
        encoder: Any,
        settings: Settings,
        sample: Callable[[], Sample],
        on_progress: Callable[[int, int], None],
        turns: Turns | None = None,
    ) -> None:
        self.planned, self.loaded, self.subject, self.encoder = planned, loaded, subject, encoder
        self.settings, self._read_sample, self.on_progress, self.turns = settings, sample, on_progress, turns
        self.reader = self._reader(planned.name)
        self._fits: dict[str, Fitted] = {}

    def rows(self, view: View) -> list[Row]:
        """A row for each split; mteb's result file is written before they are given."""
        task = self.loaded.fresh()
        result = self._result(view, task)
        return [self._row(result, view, split, items_of(task, result, split)) for split in self.loaded.splits]

    def _fitted(self, view: View) -> tuple[Fitted, Sample]:
        """The sample's vectors: all of them for ranges; for components, none of a text that the task's data have."""
        sample = self._read_sample()
        if view.method != "first":
            sample = sample.without(self._own_texts)
        if sample.digest not in self._fits:
            # One place for all tasks: the vectors are those of the whole sample.
            reader = self._reader(f"sample-{self._read_sample().digest[:16]}")
            self._fits[sample.digest] = Fitted(reader.read(sample.texts, dim=self.subject.width))
            self.reader.counts.seconds += reader.counts.seconds
            self.reader.counts.encoded += reader.counts.encoded
        return self._fits[sample.digest], sample

    def _rotation(self, view: View) -> Callable[[], Any] | None:
        """Gives the matrix that the view's vectors are multiplied by; None where they are not."""
        if view.rotation is None or self.turns is None:
            return None
        if view.method == "rotation":
            require_enough(self._documents, self.turns.fit)
            return lambda: self._of_documents.matrix
        given = self.turns.given
        return None if given is None else lambda: given.rotation.matrix

    @cached_property
    def _documents(self) -> Sample:
        return documents_of(self.loaded.fresh(), seed=self.settings.seed)

    @cached_property
    def _of_documents(self) -> Rotation:
        """Fitted on the task's documents, which are encoded as they are for scoring."""
        assert self.turns is not None
        role, width = document_role(self.loaded.fresh()), self.subject.width
        prompt = self._adapter(View(width), Cut(width, lambda vectors: vectors)).prompt_of(self.loaded.metadata, role)
        kind = role.value if role else ""
        return rotation_of(
            self.settings.vectors / "rotations" / self._encodings.relative_to(self.settings.vectors),
            self._documents,
            self.turns.fit,
            lambda texts: self.reader.read(texts, role=kind, prompt=prompt, dim=width),
            encoding=json.dumps([kind, prompt]),
            say=self.turns.say,
            on_progress=self.on_progress,
        )

    @cached_property
    def _own_texts(self) -> set[str]:
        return self._read_sample().shared_with(texts_within(self.loaded.data))

    def _reader(self, place: str) -> TextReader:
        store = VectorStore(self._encodings / place.replace("/", "__"), self.subject.width)
        return TextReader(
            self.encoder,
            store,
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
        text = json.dumps(encoding, indent=2, sort_keys=True) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        name = f"{self.subject.weights[:12]}-{digest}"
        folder = self.settings.vectors / self.subject.name.replace("/", "__") / name
        if not (folder / "encoding.json").exists():
            write_whole(folder / "encoding.json", text)
        return folder

    def _result(self, view: View, task: Any) -> Any:
        """The TaskResult of mteb for a fresh task object, saved."""
        subject, settings = self.subject, self.settings
        cut = cut_of(
            view,
            width=subject.width,
            unit=subject.unit,
            normalize=settings.normalize,
            fitted=lambda: self._fitted(view)[0],
            rotation=self._rotation(view),
        )
        adapter = self._adapter(view, cut)
        # The threads of numpy's BLAS fight over matrices as small as these: Banking77 at 6 dims took 59 s on two busy
        # cores and 4 s with one thread, scores equal (2026). torch, which encodes and searches, keeps its own threads.
        with quiet(), threadpool_limits(limits=1, user_api="blas"):
            result = mteb.evaluate(
                adapter,
                task,
                cache=None,
                co2_tracker=False,
                encode_kwargs={"show_progress_bar": False},
                show_progress_bar=False,
            ).task_results[0]
        self._require_numbers(result, view)
        save_result(settings.out, result, adapter.mteb_model_meta, encode_kwargs={"show_progress_bar": False})
        return result

    def _adapter(self, view: View, cut: Cut) -> StoredEncoder:
        settings = self.settings
        marks = settings.marks(self._read_sample if view.needs_sample else None)
        meta = model_meta(self.subject, self.encoder, view, normalize=settings.normalize, marks=marks)
        return StoredEncoder(self.reader, meta, cut=cut, prompts=mteb_prompts(self.encoder.prompts, settings.prompts))

    def _sample_of(self, view: View) -> str | None:
        """The digest of the texts that the view is fitted or calibrated on."""
        if view.method == "rotation":
            return self._documents.digest
        return self._fitted(view)[1].digest if view.needs_sample else None

    def _require_numbers(self, result: Any, view: View) -> None:
        for split in self.loaded.splits:
            score = float(result.get_score(splits=[split]))
            if score != score:
                raise EvaluationError(
                    f"{self.planned.name}, {split}: the score at {view.dim} dims is no number; "
                    "all vectors, or all labels, are equal"
                )

    def _row(self, result: Any, view: View, split: str, items: Items | None) -> Row:
        """The split's row; the task's items are written before it is given."""
        planned, subject = self.planned, self.subject
        row = Row(
            model=subject.name,
            weights=subject.weights,
            origin=subject.origin,
            task=planned.name,
            type=planned.type,
            split=split,
            metric=planned.metric,
            dim=view.dim,
            layers=subject.layers,
            width=subject.width,
            method=view.method,
            seed=view.seed,
            precision=view.precision,
            bytes_per_vector=bytes_per_vector(view.dim, view.precision),
            score=100 * float(result.get_score(splits=[split])),
            interval=interval(items, seed=self.settings.seed) if items is not None else None,
            normalize=self.settings.normalize,
            prompts=prompts_digest(self.settings.prompts),
            sample=self._sample_of(view),
            rotation=view.rotation,
            settings=self.settings.digest(self._read_sample if view.needs_sample else None, view.rotation),
            versions=versions(),
            data=planned.data,
            date=datetime.now(UTC),
        )
        if items is not None:
            write_items(items_path(self.settings.out, row), items)
        return row
