"""mteb's own task classes over local folders or the hub: data loaded once, one fresh object per dim.

If the hub is out of reach `datasets` serves the newest copy in its cache, whatever revision was asked for, and a
folder in the working folder that is called like the data set goes before the hub's: both are refused.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from mteb.abstasks import AbsTaskRetrieval
from mteb.types import PromptType

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.mteb_compat import Load, fresh_copy, prepared, watched_loads
from matryoshka_text.evaluation.tasks.hub import fetch_command
from matryoshka_text.evaluation.tasks.sample import Sample

__all__ = ["MOST_DOCUMENTS", "LoadedTask", "document_role", "documents_of", "local_class", "require_declared_revision"]

MOST_DOCUMENTS = 20_000


def local_class(task_class: Any, folder: Path | None, revision: str) -> Any:
    """The task class itself, but for where its data are: a subclass whose metadata name `folder` (None: the hub's).

    `revision` is that of its metadata: the hub's if the folder holds its very bytes, else the folder's fingerprint.
    """
    body: dict[str, Any] = {"__module__": task_class.__module__, "__doc__": task_class.__doc__}
    if folder is not None:
        metadata = task_class.metadata
        data = {**metadata.dataset, "path": str(folder), "revision": revision}
        body["metadata"] = metadata.model_copy(update={"dataset": data})
    return type(task_class.__name__, (task_class,), body)


class LoadedTask:
    """A task whose data are in memory once, and fresh task objects that share them.

    `DataError` if the hub's data are not those of the revision that the task declares.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._loaded = make()
        with watched_loads() as loads:
            self._loaded.load_data()
        require_declared_revision(self._loaded.metadata.name, self._loaded.metadata.dataset, loads)
        if isinstance(self._loaded, AbsTaskRetrieval):
            # Data in mteb's first format would be converted anew at each dim.
            self._loaded.convert_v1_dataset_format_to_v2(num_proc=None)
        # Some task classes keep more on the object than the data.
        self._state = dict(self._loaded.__dict__)

    @property
    def metadata(self) -> Any:
        """The task's metadata."""
        return self._loaded.metadata

    @property
    def splits(self) -> list[str]:
        """The splits that are scored."""
        return list(self._loaded.eval_splits)

    @property
    def data(self) -> Any:
        """The loaded data."""
        return self._loaded.dataset

    def fresh(self) -> Any:
        """A new task object, as mteb has it right after loading."""
        return fresh_copy(self._make, self._loaded, self._state)


def documents_of(task: Any, *, seed: int, most: int = MOST_DOCUMENTS) -> Sample:
    """The different documents of all scored splits and subsets of a loaded task; of more than `most`, so many drawn.

    Retrieval and reranking: the corpus, title and text joined as mteb joins them. Clustering: the texts.
    """
    found = list(dict.fromkeys(text for data in _document_sets(task) for text in _texts(task, data)))
    if len(found) > most:
        found = random.Random(seed).sample(found, most)
    return Sample(tuple(found), f"the documents of {task.metadata.name}")


def document_role(task: Any) -> PromptType | None:
    """What mteb says the documents are when it encodes them."""
    return PromptType.document if isinstance(task, AbsTaskRetrieval) else None


def _document_sets(task: Any) -> Iterator[Any]:
    for subset in task.hf_subsets:
        # Of tasks without subsets, most task classes file the splits right below the data.
        data = task.dataset[subset] if subset in task.dataset else task.dataset
        yield from (data[split] for split in task.eval_splits)


def _texts(task: Any, data: Any) -> Iterator[str]:
    if isinstance(task, AbsTaskRetrieval):
        yield from prepared(data["corpus"], task.metadata, PromptType.document).dataset["text"][:]
        return
    for text in data[task.input_column_name][:]:
        # The older clustering tasks have a list of texts in each row.
        yield from [text] if isinstance(text, str) else text


def require_declared_revision(name: str, declared: Mapping[str, Any], loads: Sequence[Load]) -> None:
    """`DataError` if mteb's task of that name was given other data than those of the revision it declares.

    `declared`: the path and revision of the task's metadata. Local folders are what they are, but for one that stands
    in for the hub's.
    """
    for load in dict.fromkeys(loads):
        is_own = load.path == declared.get("path")
        wanted = load.asked or (str(declared.get("revision")) if is_own else None)
        if load.of_hub:
            if (
                wanted is not None
                and re.fullmatch("[0-9a-f]{7,40}", wanted)
                and not (load.found or "").startswith(wanted)
            ):
                raise DataError(_other_commit(name, load, wanted))
        elif is_own and not Path(load.path).is_absolute():
            raise DataError(
                f"{name}: found the folder {Path(load.path).resolve()}, which the datasets library reads in place of "
                f"the hub's {load.path}; needed: {load.path} at revision {wanted}; run from another folder, or give a "
                f"data root: run {fetch_command([name])}, then --data-root DIR"
            )


def _other_commit(name: str, load: Load, wanted: str) -> str:
    return (
        f"{name}: found revision {load.found} of {load.path} in the datasets cache "
        f"({datasets.config.HF_DATASETS_CACHE}), which is served where the hub does not give what is asked for; "
        f"needed: revision {wanted}. Way out: on a connected machine run {fetch_command([name])}, then give DIR with "
        "--data-root"
    )
