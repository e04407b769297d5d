"""Real tasks of six types: bit for bit mteb's own scoring of the stored vectors, and within 0.01 of its own run."""

import json
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder

from matryoshka_text.evaluation import Evaluation, evaluate
from matryoshka_text.evaluation.mteb_compat import own_data_cache
from matryoshka_text.evaluation.tasks.planned import PlannedTask
from matryoshka_text.suite import Suite, TaskEntry
from matryoshka_text.vectors.store import VectorStore, text_key

TASKS = (
    {"task": "STSBenchmark"},
    {"task": "Banking77Classification"},
    {"clustering": "stackoverflow_clusters"},
    {"pair_classification": "scitail_test", "positive": "entailment"},
    {"reranking": "trecqa"},
    {"retrieval": "med"},
)
SUITE = Suite(name="six_types", tasks=tuple(TaskEntry.model_validate(one) for one in TASKS), dims=(8,))
TIMES = ("evaluation_time", "evaluation_phases", "kg_co2_emissions", "date")


class Plain(AbsEncoder):
    """The stored vectors' first coordinates text by text, without our adapter."""

    def __init__(self, folder: Path, width: int, dim: int) -> None:
        self.store, self.dim = VectorStore(folder, width), dim
        self.mteb_model_meta = ModelMeta.create_empty()

    def encode(self, inputs: Any, **settings: Any) -> np.ndarray:
        texts = [text for batch in inputs for text in batch["text"]]
        return np.stack([self.store.prefixes([text_key("", None, text)], self.dim)[0] for text in texts])


@pytest.fixture(scope="module")
def raw(tiny_model: Path, data_root: Path, tmp_path_factory: pytest.TempPathFactory, module_cache: None) -> Evaluation:
    found = evaluate(
        tiny_model, SUITE, data_root=data_root, out=tmp_path_factory.mktemp("raw"), raw_prefix=True, device="cpu"
    )
    found.require_success()
    return found


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


def as_mteb_has_it(planned: PlannedTask) -> Any:
    """A task object of the class without what we add to it."""
    task_class = planned.task_class
    unpatched = task_class.__bases__[0] if "_evaluate_subset" in task_class.__dict__ else task_class
    return unpatched()


def by_mteb(model: Any, planned: PlannedTask) -> Any:
    with own_data_cache(planned.fingerprint):
        done = mteb.evaluate(model, as_mteb_has_it(planned), cache=None, co2_tracker=False, show_progress_bar=False)
    return done.task_results[0]


@pytest.mark.parametrize("number", range(len(TASKS)), ids=[next(iter(one.values())) for one in TASKS])
@pytest.mark.parametrize("dim", [8, 32])
def test_raw_prefixes_are_scored_bit_for_bit_as_mteb_does(
    raw: Evaluation, number: int, dim: int, tmp_path: Path
) -> None:
    planned, subject = raw.plan.tasks[number], raw.plan.subjects[0]
    assert isinstance(planned, PlannedTask)
    place = "" if dim == 32 else f"experiments/embed_dim_{dim}"
    file = raw.out / "results" / subject.name.replace("/", "__") / subject.weights / place / f"{planned.name}.json"
    (vectors,) = (raw.out / "vectors").glob(f"*/*/{planned.name}")
    theirs = by_mteb(Plain(vectors, 32, dim), planned)
    assert raw.score(planned.name, dim) == 100 * theirs.get_score()
    # A file has six digits of each number; every metric that mteb computes is in it.
    theirs.to_disk(tmp_path / "theirs.json")
    assert without_times(file) == without_times(tmp_path / "theirs.json")


def without_times(file: Path) -> dict[str, Any]:
    return {key: value for key, value in json.loads(file.read_text()).items() if key not in TIMES}


@pytest.mark.parametrize("number", range(len(TASKS)), ids=[next(iter(one.values())) for one in TASKS])
def test_end_to_end_within_a_hundredth_of_plain_mteb(raw: Evaluation, tiny_model: Path, number: int) -> None:
    from sentence_transformers import SentenceTransformer

    planned = raw.plan.tasks[number]
    assert isinstance(planned, PlannedTask)
    theirs = by_mteb(SentenceTransformer(str(tiny_model), device="cpu", truncate_dim=8), planned)
    assert raw.score(planned.name, 8) == pytest.approx(100 * theirs.get_score(), abs=0.01)
