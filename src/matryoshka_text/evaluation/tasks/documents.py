"""The documents of a task: its collection's texts as mteb encodes them, without queries, judgements and labels."""

import random
from collections.abc import Iterator
from typing import Any

from mteb._create_dataloaders import create_dataloader
from mteb.abstasks import AbsTaskRetrieval
from mteb.types import PromptType

from matryoshka_text.evaluation.tasks.sample import Sample

__all__ = ["MOST_DOCUMENTS", "document_role", "documents_of"]

MOST_DOCUMENTS = 20_000


def documents_of(task: Any, *, seed: int, most: int = MOST_DOCUMENTS) -> Sample:
    """The different documents of all scored splits and subsets of a loaded task; of more than `most`, so many drawn.

    Retrieval and reranking: the corpus, title and text joined as mteb joins them. Clustering: the texts.
    """
    found = list(dict.fromkeys(text for data in _parts(task) for text in _texts(task, data)))
    if len(found) > most:
        found = random.Random(seed).sample(found, most)
    return Sample(tuple(found), f"the documents of {task.metadata.name}")


def document_role(task: Any) -> PromptType | None:
    """What mteb says the documents are when it encodes them."""
    return PromptType.document if isinstance(task, AbsTaskRetrieval) else None


def _parts(task: Any) -> Iterator[Any]:
    for subset in task.hf_subsets:
        # Of tasks without subsets, most task classes file the splits right below the data.
        data = task.dataset[subset] if subset in task.dataset else task.dataset
        yield from (data[split] for split in task.eval_splits)


def _texts(task: Any, data: Any) -> Iterator[str]:
    if isinstance(task, AbsTaskRetrieval):
        prepared = create_dataloader(data["corpus"], task_metadata=task.metadata, prompt_type=PromptType.document)
        yield from prepared.dataset["text"][:]
        return
    for text in data[task.input_column_name][:]:
        # The older clustering tasks have a list of texts in each row.
        yield from [text] if isinstance(text, str) else text
