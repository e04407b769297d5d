"""mteb's own task classes over local folders, one fresh object per dim."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
from mteb.abstasks import AbsTaskClassification, AbsTaskMultilabelClassification, AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from matryoshka_text.evaluation.tasks.beir import read_beir
from matryoshka_text.evaluation.tasks.labels import with_array_labels
from matryoshka_text.evaluation.tasks.revision import require_declared_revision, watched_loads

__all__ = ["LoadedTask", "beir_class", "local_class", "own_data_cache"]


def local_class(task_class: Any, folder: Path | None, revision: str) -> Any:
    """The task class itself, but for where its data are: a subclass whose metadata name `folder` (None: the hub's).

    `revision` is that of its metadata: the hub's where the folder holds its very bytes, else the folder's fingerprint.
    """
    body: dict[str, Any] = {"__module__": task_class.__module__, "__doc__": task_class.__doc__}
    if folder is not None:
        metadata = task_class.metadata
        data = {**metadata.dataset, "path": str(folder), "revision": revision}
        body["metadata"] = metadata.model_copy(update={"dataset": data})
    found = type(task_class.__name__, (task_class,), body)
    # Several labels a text make no array.
    one_label = issubclass(found, AbsTaskClassification) and not issubclass(found, AbsTaskMultilabelClassification)
    return with_array_labels(found) if one_label else found


def beir_class(name: str, folder: Path, fingerprint: str, split: str, languages: Sequence[str] = ("eng-Latn",)) -> Any:
    """A retrieval task of mteb over a folder in BEIR layout, scored by nDCG@10."""

    def load_data(self: Any, num_proc: int | None = None, **kwargs: Any) -> None:
        if not self.data_loaded:
            self.dataset = {"default": {one: read_beir(folder, one) for one in self.eval_splits}}
            self.data_loaded = True

    metadata = TaskMetadata(
        name=name,
        description=f"Local retrieval set {name} in BEIR layout.",
        dataset={"path": str(folder), "revision": fingerprint},
        type="Retrieval",
        category="t2t",
        eval_splits=[split],
        eval_langs=list(languages),
        main_score="ndcg_at_10",
    )
    return type("BeirFolder", (AbsTaskRetrieval,), {"metadata": metadata, "load_data": load_data})


class LoadedTask:
    """A task whose data are in memory once, and fresh task objects that share them.

    `DataError` where the hub's data are not those of the revision that the task declares.
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
        """A new task object, as mteb has it right after loading: random states too, which scoring advances."""
        task = self._make()
        task.__dict__.update(self._state)
        task.rng_state, task.np_rng = copy.deepcopy(self._state["rng_state"]), copy.deepcopy(self._state["np_rng"])
        # Retrieval narrows the queries of the mapping it is given.
        task.dataset = _containers(self._loaded.dataset)
        return task


def _containers(data: Any) -> Any:
    if isinstance(data, datasets.DatasetDict):
        return datasets.DatasetDict(data)
    if isinstance(data, dict):
        return {name: dict(part) if name == "relevant_docs" else _containers(part) for name, part in data.items()}
    return data


@contextmanager
def own_data_cache(fingerprint: str | None) -> Iterator[None]:
    """`datasets` with a cache of its own for this fingerprint, and without the hub (None: as usual).

    It files a local folder under the folder's NAME: another folder of that name would silently give the old rows.
    And a task class that ignores its metadata's path would load the hub's data in the name of the local ones.
    """
    if fingerprint is None:
        yield
        return
    settings = (
        (
            datasets.config,
            "HF_DATASETS_CACHE",
            Path(datasets.config.HF_DATASETS_CACHE) / "matryoshka-text" / fingerprint[:32],
        ),
        (datasets.config, "HF_HUB_OFFLINE", True),
        (huggingface_hub.constants, "HF_HUB_OFFLINE", True),
    )
    before = [getattr(module, name) for module, name, _ in settings]
    for module, name, value in settings:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(settings, before, strict=True):
            setattr(module, name, value)
