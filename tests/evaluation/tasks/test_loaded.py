"""mteb's own classes over local folders: the same class, other data, fresh per dim."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
import pytest

from matryoshka_text.evaluation.mteb_compat import own_data_cache
from matryoshka_text.evaluation.tasks.loaded import LoadedTask, local_class
from matryoshka_text.evaluation.tasks.own_tasks import own_class
from matryoshka_text.fingerprint import data_fingerprint
from matryoshka_text.suite import TaskEntry


def load(name: str, folder: Path) -> LoadedTask:
    data = data_fingerprint(folder)
    with own_data_cache(data):
        return LoadedTask(local_class(type(mteb.get_task(name)), folder, data))


def test_the_class_is_mtebs_own_but_for_where_the_data_are(small_data: Path) -> None:
    original = type(mteb.get_task("STSBenchmark"))
    folder = small_data / "mteb/mteb__stsbenchmark-sts"
    made = local_class(original, folder, "f" * 64)
    assert issubclass(made, original)
    assert made.metadata.dataset == {"path": str(folder), "revision": "f" * 64}
    assert original.metadata.dataset["path"] == "mteb/stsbenchmark-sts"
    assert {name for name in vars(made) if not name.startswith("_")} == {"metadata"}
    loaded = load("STSBenchmark", folder)
    assert loaded.metadata.name == "STSBenchmark"
    assert loaded.data["test"].num_rows == 30


def test_without_a_folder_the_metadata_are_the_hubs(small_data: Path) -> None:
    original = type(mteb.get_task("STSBenchmark"))
    assert local_class(original, None, "").metadata is original.metadata


def test_fresh_tasks_share_the_data_and_nothing_else(small_data: Path) -> None:
    loaded = load("Banking77Classification", small_data / "mteb/mteb__banking77")
    first, second = loaded.fresh(), loaded.fresh()
    assert first is not second
    assert first.data_loaded and second.data_loaded
    assert first.dataset is not second.dataset
    assert first.dataset["test"] is second.dataset["test"]
    assert first.np_rng is not second.np_rng
    drawn = first.np_rng.integers(1 << 30, size=3).tolist(), first.rng_state.random()
    assert (second.np_rng.integers(1 << 30, size=3).tolist(), second.rng_state.random()) == drawn


def test_a_beir_folder_is_a_retrieval_task_and_scoring_leaves_its_data(small_data: Path) -> None:
    folder = small_data / "extra/pets"
    loaded = LoadedTask(own_class(TaskEntry(retrieval="pets"), {}, folder, "f" * 64))
    task = loaded.fresh()
    assert isinstance(task, mteb.AbsTask)
    assert (task.metadata.type, task.metadata.main_score, task.metadata.name) == ("Retrieval", "ndcg_at_10", "pets")
    part = task.dataset["default"]["test"]
    assert (len(part["corpus"]), len(part["queries"]), len(part["relevant_docs"])) == (25, 8, 8)
    part["queries"] = None
    part["relevant_docs"].clear()
    again = loaded.fresh().dataset["default"]["test"]
    assert (len(again["queries"]), len(again["relevant_docs"])) == (8, 8)


def test_folders_of_one_name_do_not_share_a_cache(tmp_path: Path, make_data: Callable[..., Path]) -> None:
    """A README with a `configs:` block makes `datasets` file the data under the folder's name alone."""
    texts = []
    for seed in (1, 2):
        folder = make_data(tmp_path / str(seed), seed) / "mteb/mteb__stsbenchmark-sts"
        (folder / "README.md").write_text(
            "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: test, path: test.jsonl.gz}\n---\n"
        )
        texts.append(load("STSBenchmark", folder).data["test"]["sentence1"][:])
    assert texts[0] != texts[1]


def test_the_usual_cache_is_back_afterwards(tmp_path: Path) -> None:
    import datasets

    before = datasets.config.HF_DATASETS_CACHE
    with pytest.raises(RuntimeError), own_data_cache("a" * 64):
        assert str(datasets.config.HF_DATASETS_CACHE).endswith("matryoshka-text/" + "a" * 32)
        raise RuntimeError
    assert before == datasets.config.HF_DATASETS_CACHE


def test_nothing_keeps_the_data_of_a_task_that_is_done(small_data: Path) -> None:
    loaded = load("Banking77Classification", small_data / "mteb/mteb__banking77")
    kept = weakref.ref(loaded.data["test"])
    loaded.fresh()
    del loaded
    gc.collect()
    assert kept() is None


def test_data_in_mtebs_first_format_are_converted_once(small_data: Path) -> None:
    folder = small_data / "extra/pets"
    converted: list[Any] = []

    class Old(own_class(TaskEntry(retrieval="pets"), {}, folder, "f" * 64)):  # type: ignore[misc]
        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            self.queries = {"test": {"q0": "cat"}}
            self.corpus = {"test": {"d0": {"title": "", "text": "red"}}}
            self.relevant_docs = {"test": {"q0": {"d0": 1}}}
            self.data_loaded = True

        def convert_v1_dataset_format_to_v2(self, num_proc: int | None) -> None:
            if hasattr(self, "queries"):
                converted.append(self)
            super().convert_v1_dataset_format_to_v2(num_proc)

    loaded = LoadedTask(Old)
    for _ in range(3):
        task = loaded.fresh()
        task.convert_v1_dataset_format_to_v2(None)
        assert task.dataset["default"]["test"]["queries"]["text"][:] == ["cat"]
    assert len(converted) == 1


def test_the_hub_is_out_of_reach_for_local_data(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with own_data_cache("a" * 64):
        assert huggingface_hub.is_offline_mode()
    assert not huggingface_hub.is_offline_mode()
    with own_data_cache(None):
        assert not huggingface_hub.is_offline_mode()
