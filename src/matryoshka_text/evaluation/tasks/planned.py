"""The tasks of an evaluation with their data found."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matryoshka_text.files import sha256_of
from matryoshka_text.suite import TaskEntry

__all__ = ["CORPUS_TYPES", "MASKED_ACCURACY", "MASKED_TEXT", "PlannedTask", "PlannedText"]

MASKED_TEXT, MASKED_ACCURACY = "MaskedText", "masked_accuracy"
# mteb's types of tasks over a collection of documents, which somebody who scores them has at hand.
CORPUS_TYPES = ("Retrieval", "InstructionRetrieval", "Reranking", "InstructionReranking", "Clustering")


@dataclass(frozen=True)
class PlannedTask:
    """A task of mteb, or an own set as one: `folder` is its folder or file (None: the hub), `data` identifies the data.

    `official`: the data are, byte for byte, those of the revision that mteb declares (the hub, or a fetched folder).
    `subsets`: of the task's languages or parts those that are scored; None: all. They are part of `data`, as
    <data>#en,de: the mean over other subsets is another score.
    """

    name: str
    type: str
    metric: str
    split: str | None
    folder: Path | None
    data: str
    task_class: Any
    official: bool = False
    subsets: tuple[str, ...] | None = None

    @property
    def fingerprint(self) -> str | None:
        """What tells these local data from others, 64 hex digits; None for the hub."""
        if self.folder is None:
            return None
        data = self.data.partition("#")[0]
        return hashlib.sha256(data.encode()).hexdigest() if self.official else data

    @property
    def has_corpus(self) -> bool:
        """Whether it is about a collection of documents, which a rotation can be fitted on."""
        return self.type in CORPUS_TYPES

    def make(self) -> Any:
        """A new task object, data not loaded."""
        task = self.task_class().filter_eval_splits([self.split] if self.split else None)
        return task if self.subsets is None else task.filter_languages(None, hf_subsets=list(self.subsets))

    def about(self, split: str) -> str:
        """What the numbers in its table are."""
        return f"{self.metric} x 100, {split} split"


@dataclass(frozen=True)
class PlannedText:
    """A text file whose masked tokens a model has to find; `data` identifies text and masking."""

    name: str
    file: Path
    share: float
    max_length: int
    seed: int
    data: str
    type: str = MASKED_TEXT
    metric: str = MASKED_ACCURACY
    split: str = "test"

    @classmethod
    def of(cls, entry: TaskEntry, file: Path) -> "PlannedText":
        """The suite's entry with its file found."""
        masking = f"{entry.share!r} {entry.max_length} {entry.seed}"
        data = hashlib.sha256(f"{sha256_of(file)}\0{masking}".encode()).hexdigest()
        return cls(entry.name, file, entry.share, entry.max_length, entry.seed, data)

    def about(self, split: str) -> str:
        """What the numbers in its table are."""
        return f"{self.metric} x 100, {100 * self.share:g}% masked"
