"""What is taken from inside mteb and datasets: each test names what a release has moved, and what breaks without it."""

import inspect
from importlib import import_module
from typing import Any

import datasets
import huggingface_hub.constants
import mteb
import pytest
from mteb import ResultCache
from mteb.mocks.mock_tasks import MockClassificationTask, MockRetrievalTask

from matryoshka_text.evaluation import mteb_compat
from matryoshka_text.evaluation.scoring.collect import _KINDS

NAMES = {
    "mteb._create_dataloaders.create_dataloader": "documents and queries cannot be prepared as mteb prepares them",
    "mteb.languages.iso_mappings._hf_langs_to_iso_lang_scripts": "the languages of a model card cannot be read",
    "mteb.languages.iso_mappings.language_label": "languages cannot be named in messages",
    "mteb.models.abs_encoder.AbsEncoder.validate_task_to_prompt_name": "prompts by task cannot be checked",
    "mteb.models.abs_encoder.AbsEncoder.get_prompt_name": "the prompt of a task cannot be found",
    "mteb.models.model_implementations.MODEL_REGISTRY": "submissions cannot be rehearsed",
    "mteb.models.search_wrappers.SearchEncoderWrapper.search": "stored vectors cannot be searched",
    "mteb.models.search_wrappers.SearchEncoderWrapper.index": "stored vectors cannot be searched",
    "mteb.abstasks.AbsTaskRetrieval.convert_v1_dataset_format_to_v2": "old retrieval sets are converted at every dim",
    "datasets.load.load_dataset_builder": "the revision of the data cannot be checked",
}
VERSIONS = f"mteb {mteb.__version__}, datasets {datasets.__version__}"


def found(name: str) -> Any:
    module, _, rest = name.partition(".AbsTask") if ".AbsTask" in name else (name, "", "")
    path = module.split(".") if not rest else [*module.split("."), *("AbsTask" + rest).split(".")]
    value: Any = import_module(path[0])
    for place, word in enumerate(path[1:], start=2):
        try:
            value = getattr(value, word)
        except AttributeError:
            value = import_module(".".join(path[:place]))
    return value


@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_there(name: str) -> None:
    try:
        found(name)
    except (ImportError, AttributeError) as error:
        pytest.fail(
            f"mteb {mteb.__version__}, datasets {datasets.__version__}: {name} is gone: {NAMES[name]} ({error})"
        )


@pytest.mark.parametrize(("base", "hook"), [(base, hook) for base, hook, _ in _KINDS])
def test_the_methods_that_scores_are_read_from(base: Any, hook: str | None) -> None:
    scoring = mteb_compat.SUBSET_METHODS[0]
    assert hasattr(base, scoring), (
        f"{base.__name__}.{scoring} is gone: no intervals, and classification takes 4 times as long"
    )
    given = inspect.signature(getattr(base, scoring)).parameters
    assert {"hf_split", "hf_subset"} <= set(given), (
        f"{base.__name__}.{scoring} no longer takes split and subset by name"
    )
    assert hook is None or hasattr(base, hook), f"{base.__name__}.{hook} is gone: its scores have no intervals"


@pytest.mark.parametrize("task_class", [MockClassificationTask, MockRetrievalTask])
def test_a_fresh_copy_has_random_states_of_its_own(task_class: Any) -> None:
    task = task_class()
    task.load_data()
    state = dict(task.__dict__)
    assert {"rng_state", "np_rng", "dataset"} <= set(state), (
        "the random states of a task are kept elsewhere: draws differ"
    )
    copy = mteb_compat.fresh_copy(task_class, task, state)
    assert copy.np_rng is not task.np_rng and copy.rng_state is not task.rng_state
    assert copy.data_loaded and copy.dataset is not task.dataset


def test_results_are_written_through_a_public_method() -> None:
    taken = list(inspect.signature(ResultCache.save_to_cache).parameters)
    assert taken[:3] == ["self", "task_result", "model_name"], f"ResultCache.save_to_cache takes {taken}"


def test_the_settings_that_keep_data_apart() -> None:
    for module, name in (
        (datasets.config, "HF_DATASETS_CACHE"),
        (datasets.config, "HF_HUB_OFFLINE"),
        (huggingface_hub.constants, "HF_HUB_OFFLINE"),
    ):
        assert hasattr(module, name), f"{module.__name__}.{name} is gone: folders of one name would share a cache"


def test_languages_as_the_hub_writes_them() -> None:
    assert mteb_compat.iso_scripts("de") == ["deu-Latn"]
    assert mteb_compat.iso_scripts("multilingual") is None
    assert mteb_compat.language_label("deu") == "German"
