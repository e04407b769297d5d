"""Everything that is taken from inside mteb and datasets: names that a release may move without notice.

tests/evaluation/test_mteb_compat.py says which of them a release has taken away, and what breaks with it.
"""

import copy
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import datasets.load
import huggingface_hub.constants
from mteb import ResultCache, TaskResult
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks.retrieval import _filter_queries_without_positives
from mteb.languages.iso_mappings import _hf_langs_to_iso_lang_scripts, language_label
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_implementations import MODEL_REGISTRY
from mteb.models.search_wrappers import SearchEncoderWrapper
from mteb.types import PromptType

__all__ = [
    "SUBSET_METHODS",
    "AbsEncoder",
    "Load",
    "SearchEncoderWrapper",
    "fresh_copy",
    "iso_scripts",
    "judged_queries",
    "known_prompts",
    "language_label",
    "own_data_cache",
    "prepared",
    "quiet",
    "registered",
    "registered_entry",
    "require_prompt_names",
    "save_to_cache",
    "watched_loads",
]

# The methods of mteb's task classes that score one subset of one split.
SUBSET_METHODS = ("_evaluate_subset", "_evaluate_subset_cross_validation")


@contextmanager
def quiet() -> Iterator[None]:
    """No bars of `datasets`, no remark that a task has a newer version, none that some class was never predicted."""
    bars, level = datasets.is_progress_bar_enabled(), logging.getLogger("mteb").level
    datasets.disable_progress_bars()
    logging.getLogger("mteb").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*superseded.*")
            # Rare classes at small dims; the metrics are defined as 0 there.
            warnings.filterwarnings("ignore", message=".*ill-defined.*")
            yield
    finally:
        logging.getLogger("mteb").setLevel(level)
        if bars:
            datasets.enable_progress_bars()


def prepared(texts: Any, metadata: Any, role: PromptType | None, **settings: Any) -> Any:
    """The loader through which mteb gives a task's texts to an encoder: title and text joined, columns named."""
    return create_dataloader(texts, task_metadata=metadata, prompt_type=role, **settings)


def judged_queries(judgements: Any, queries: Any) -> tuple[dict[str, dict[str, int]], Any]:
    """Judgements and queries without the queries that have none, as mteb narrows both before it scores."""
    return _filter_queries_without_positives(judgements, queries)


def known_prompts(prompts: Mapping[str, str]) -> dict[str, str]:
    """Those of the prompts whose names mteb knows: a task, a task type, query or document."""
    known: dict[str, str]
    known, _ = AbsEncoder.validate_task_to_prompt_name(dict(prompts), raise_for_invalid_keys=False)
    return known


def require_prompt_names(prompts: Mapping[str, str]) -> None:
    """KeyError or ValueError for a prompt whose name mteb does not know."""
    AbsEncoder.validate_task_to_prompt_name(dict(prompts))


def registered_entry(name: str) -> ModelMeta | None:
    """Mteb's own entry of the model of that name; None if it has none."""
    return MODEL_REGISTRY.get(name)


@contextmanager
def registered(meta: ModelMeta) -> Iterator[None]:
    """A stretch in which mteb has the entry registered, whatever it has under that name."""
    name = str(meta.name)
    before = MODEL_REGISTRY.get(name)
    MODEL_REGISTRY[name] = meta
    try:
        yield
    finally:
        if before is None:
            del MODEL_REGISTRY[name]
        else:
            MODEL_REGISTRY[name] = before


def iso_scripts(code: str) -> list[str] | None:
    """The codes of mteb, such as eng-Latn, of a language as the hub writes it; None for what is no language."""
    found: list[str] | None = _hf_langs_to_iso_lang_scripts(code)
    return found


def save_to_cache(cache: ResultCache, result: TaskResult, meta: ModelMeta, encode_kwargs: dict[str, Any]) -> None:
    """The result written by mteb; releases after 2.11 record the settings of encoding too, in run_settings.jsonl."""
    takes_settings = "encode_kwargs" in inspect.signature(cache.save_to_cache).parameters
    cache.save_to_cache(result, meta, **({"encode_kwargs": encode_kwargs} if takes_settings else {}))


def fresh_copy(make: Callable[[], Any], loaded: Any, state: Mapping[str, Any]) -> Any:
    """A new task object, as mteb has `loaded` right after loading: random states too, which scoring advances.

    Some task classes keep more on the object than the data: `state` is its `__dict__` at that time.
    """
    task = make()
    task.__dict__.update(state)
    task.rng_state, task.np_rng = copy.deepcopy(state["rng_state"]), copy.deepcopy(state["np_rng"])
    # Retrieval narrows the queries of the mapping it is given.
    task.dataset = _containers(loaded.dataset)
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
    own = Path(datasets.config.HF_DATASETS_CACHE) / "matryoshka-text" / fingerprint[:32]
    with (
        _set(datasets.config, "HF_DATASETS_CACHE", own),
        _set(datasets.config, "HF_HUB_OFFLINE", True),
        _set(huggingface_hub.constants, "HF_HUB_OFFLINE", True),
    ):
        yield


@contextmanager
def _set(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@dataclass(frozen=True)
class Load:
    """One data set that `datasets` opened: `found` is its commit, or the name of its copy's folder in the cache.

    `asked`: the revision that it was asked for. `of_hub`: False for local files.
    """

    path: str
    asked: str | None
    found: str | None
    of_hub: bool


@contextmanager
def watched_loads() -> Iterator[list[Load]]:
    """A list that fills with every data set that `datasets.load_dataset` opens meanwhile."""
    loads: list[Load] = []
    original = datasets.load.load_dataset_builder

    def watching(path: str, *rest: Any, revision: Any = None, **settings: Any) -> Any:
        builder = original(path, *rest, revision=revision, **settings)
        asked = None if revision is None else str(revision)
        loads.append(Load(path, asked, builder.hash, builder.repo_id is not None))
        return builder

    # `load_dataset` is what mteb's classes have imported by name; what it calls is looked up here.
    with _set(datasets.load, "load_dataset_builder", watching):
        yield loads
