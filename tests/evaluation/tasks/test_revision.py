"""The hub's data in the cache of `datasets`: taken at the declared revision alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import mteb
import pytest

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.mteb_compat import Load, own_data_cache, quiet, watched_loads
from matryoshka_text.evaluation.tasks.loaded import LoadedTask, require_declared_revision
from matryoshka_text.evaluation.tasks.planned import PlannedTask, planned_tasks
from matryoshka_text.suite import Suite, TaskEntry

OTHER = "a" * 40
ROW = {"sentence1": "a cat", "sentence2": "a dog", "score": 2.5}
Cached = Callable[..., None]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cached:
    """cached(repo, commit, config, rows): a copy in the cache as an earlier load from the hub has left it."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.chdir(tmp_path)

    def make(repo: str, commit: str, config: str = "default", rows: list[dict[str, Any]] | None = None) -> None:
        source = tmp_path / f"source-{commit}-{config}"
        source.mkdir()
        (source / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows or [ROW] * 3))
        made = datasets.load_dataset_builder(
            "json", name=config, data_files={"test": str(source / "test.jsonl")}, cache_dir=str(tmp_path / "made")
        )
        org, name = repo.split("/")
        folder = cache / f"{org}___{name}" / config / "0.0.0" / commit
        made.dataset_name = name
        made.info.config_name = config
        made.download_and_prepare(str(folder))

    return make


def hub_task(name: str) -> PlannedTask:
    (task,) = planned_tasks(Suite(name="x", tasks=(TaskEntry(task=name),)))
    assert isinstance(task, PlannedTask) and task.official and task.folder is None
    return task


def load(task: PlannedTask) -> LoadedTask:
    with quiet(), own_data_cache(task.fingerprint):
        return LoadedTask(task.make)


def test_a_cached_copy_of_the_declared_revision_is_taken(cached: Cached) -> None:
    declared = mteb.get_task("STS13").metadata.dataset
    cached(declared["path"], declared["revision"])
    assert len(load(hub_task("STS13")).data["test"]) == 3


def test_a_cached_copy_of_another_revision_is_refused(cached: Cached) -> None:
    declared = mteb.get_task("STS13").metadata.dataset
    cached(declared["path"], OTHER)
    with pytest.raises(DataError) as caught:
        load(hub_task("STS13"))
    said = str(caught.value)
    assert f"STS13: found revision {OTHER} of mteb/sts13-sts in the datasets cache" in said
    assert f"needed: revision {declared['revision']}" in said
    assert "mtext data fetch STS13 --out DIR, then give DIR with --data-root" in said


def test_it_is_refused_however_a_class_moves_the_data_on(cached: Cached) -> None:
    """Cache files are on no table that a class makes in memory."""
    declared = mteb.get_task("STS13").metadata.dataset
    cached(declared["path"], OTHER)
    original = hub_task("STS13")

    class Copying(original.task_class):  # type: ignore[misc]
        def dataset_transform(self, num_proc: int | None = None) -> None:
            rows = {split: datasets.Dataset.from_list(part.to_list()) for split, part in self.dataset.items()}
            self.dataset = datasets.DatasetDict(rows)

    with pytest.raises(DataError, match=f"found revision {OTHER}"), quiet():
        LoadedTask(Copying)


def test_a_folder_of_the_data_sets_name_does_not_stand_in_for_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mteb/sts13-sts").mkdir(parents=True)
    (tmp_path / "mteb/sts13-sts/test.jsonl").write_text(json.dumps(ROW) + "\n")
    with pytest.raises(DataError, match=r"found the folder .*/mteb/sts13-sts, which .* in place of the hub's mteb/sts"):
        load(hub_task("STS13"))


def test_other_data_sets_of_a_task_are_held_to_what_was_asked_for() -> None:
    declared = {"path": "org/name", "revision": "1" * 40}
    right = [
        Load("org/name", "1" * 40, "1" * 40, True),
        Load("org/name", "1" * 7, "1" * 40, True),
        Load("org/name", "main", "2" * 40, True),
        Load("org/other", None, "2" * 40, True),
        Load("/local/folder", "3" * 64, "4" * 16, False),
        Load("json", None, "5" * 16, False),
    ]
    require_declared_revision("Task", declared, right)
    for wrong in (Load("org/name", None, "2" * 40, True), Load("org/other", "3" * 40, "2" * 40, True)):
        with pytest.raises(DataError, match=f"found revision {'2' * 40} of {wrong.path}"):
            require_declared_revision("Task", declared, [*right, wrong])


def test_datasets_is_as_before_afterwards() -> None:
    before = datasets.load.load_dataset_builder
    with pytest.raises(RuntimeError), watched_loads():
        assert datasets.load.load_dataset_builder is not before
        raise RuntimeError
    assert datasets.load.load_dataset_builder is before
