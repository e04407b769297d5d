"""mteb's own classes, unchanged, over tiny folders laid out as the repositories of the hub are: every type of task."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.mteb_compat import own_data_cache, quiet
from matryoshka_text.evaluation.tasks.checks import require_readable
from matryoshka_text.evaluation.tasks.loaded import LoadedTask
from matryoshka_text.evaluation.tasks.planned import PlannedTask, planned_tasks
from matryoshka_text.suite import Suite, TaskEntry

WORDS = "cat dog bank card money street guitar red blue woman man playing running sleeping house picture water".split()
Rows = list[dict[str, Any]]
Files = dict[str, Rows]


class Hashed(AbsEncoder):
    """Vectors that depend on the words of a text."""

    def __init__(self) -> None:
        self.mteb_model_meta = ModelMeta.create_empty()

    def encode(self, inputs: Any, **settings: Any) -> np.ndarray:
        texts = [text for batch in inputs for text in batch["text"]]
        rows = [
            sum(np.random.default_rng(list(map(ord, word))).normal(size=6) for word in text.split()) for text in texts
        ]
        return np.array(rows, dtype=np.float32)


def text(rng: random.Random, length: int = 5) -> str:
    return " ".join(rng.choices(WORDS, k=length))


def sts(rng: random.Random) -> Rows:
    return [{"sentence1": text(rng), "sentence2": text(rng), "score": rng.random() * 5} for _ in range(20)]


def classes(rng: random.Random) -> Rows:
    return [{"text": f"{WORDS[n % 3]} {text(rng)}", "label": WORDS[n % 3]} for n in range(30)]


def several(rng: random.Random) -> Rows:
    return [{"text": text(rng), "label": sorted(rng.sample(range(4), 2))} for _ in range(40)]


def clusters(rng: random.Random) -> Rows:
    names = [WORDS[n % 3] for n in range(60)]
    return [{"sentences": [f"{name} {text(rng)}" for name in names], "labels": names} for _ in range(2)]


def pairs(rng: random.Random) -> Rows:
    return [{"sent1": text(rng), "sent2": text(rng), "labels": n % 2} for n in range(20)]


def pairs_in_one_row(rng: random.Random) -> Rows:
    rows = pairs(rng)
    return [{column: [row[column] for row in rows] for column in rows[0]}]


def summaries(rng: random.Random) -> Rows:
    return [
        {
            "text": text(rng, 20),
            "human_summaries": [text(rng) for _ in range(2)],
            "machine_summaries": [text(rng) for _ in range(5)],
            "relevance": [1 + 4 * rng.random() for _ in range(5)],
        }
        for _ in range(6)
    ]


def sentences(rng: random.Random) -> Rows:
    return [{"sentence1": text(rng), "sentence2": text(rng)} for _ in range(10)]


def write(folder: Path, configs: dict[str, Files]) -> Path:
    """The folder with a README that declares a config for each: what a repository on the hub has."""
    declared = []
    for config, files in configs.items():
        for split, rows in files.items():
            path = folder / config / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths = "".join(f"  - {{split: {split}, path: {config}/{split}.jsonl}}\n" for split in files)
        declared.append(f"- config_name: {config}\n  data_files:\n{paths}")
    (folder / "README.md").write_text(f"---\nconfigs:\n{''.join(declared)}---\n")
    return folder


def retrieval(rng: random.Random, *, candidates: bool = False) -> dict[str, Files]:
    corpus = [{"_id": f"d{n}", "title": "", "text": text(rng, 9)} for n in range(20)]
    queries = [{"_id": f"q{n}", "text": text(rng)} for n in range(6)]
    judged = [{"query-id": f"q{n}", "corpus-id": f"d{3 * n}", "score": 1} for n in range(5)]
    found = {"corpus": {"test": corpus}, "queries": {"test": queries}, "default": {"test": judged}}
    if candidates:
        ranked = [{"query-id": f"q{n}", "corpus-ids": [f"d{3 * n}", "d1", "d2"]} for n in range(5)]
        found["top_ranked"] = {"test": ranked}
    return found


def planned(name: str, root: Path, **options: Any) -> PlannedTask:
    (task,) = planned_tasks(Suite(name="x", tasks=(TaskEntry.model_validate({"task": name, **options}),)), root)
    assert isinstance(task, PlannedTask)
    return task


def load(task: PlannedTask) -> LoadedTask:
    with quiet(), own_data_cache(task.fingerprint):
        loaded = LoadedTask(task.make)
        require_readable(loaded, str(task.folder))
    return loaded


def result_of(loaded: LoadedTask) -> Any:
    with quiet():
        return mteb.evaluate(
            Hashed(),
            loaded.fresh(),
            cache=None,
            co2_tracker=False,
            encode_kwargs={"batch_size": 8},
            show_progress_bar=False,
        ).task_results[0]


def folder_of(name: str, root: Path) -> Path:
    return root / "mteb" / str(mteb.get_task(name).metadata.dataset["path"]).replace("/", "__")


ONE = [
    ("STSBenchmark", sts, ("test",)),
    ("Banking77Classification", classes, ("train", "test")),
    ("KorHateSpeechMLClassification", several, ("train", "test")),
    ("TwentyNewsgroupsClustering", clusters, ("test",)),
    ("TwentyNewsgroupsClustering.v2", clusters, ("test",)),
    ("TwitterURLCorpus", pairs, ("test",)),
    ("SprintDuplicateQuestions", pairs_in_one_row, ("validation", "test")),
    ("SummEvalSummarization.v2", summaries, ("test",)),
    ("BornholmBitextMining", sentences, ("test",)),
]


@pytest.mark.parametrize(("name", "rows", "splits"), ONE, ids=[name for name, *_ in ONE])
def test_every_type_is_loaded_checked_and_scored(
    tmp_path: Path, name: str, rows: Callable[[random.Random], Rows], splits: tuple[str, ...]
) -> None:
    rng = random.Random(0)
    write(folder_of(name, tmp_path), {"default": {split: rows(rng) for split in splits}})
    task = planned(name, tmp_path)
    assert issubclass(task.task_class, type(mteb.get_task(name)))
    assert not task.official
    loaded = load(task)
    first, second = result_of(loaded), result_of(loaded)
    assert first.scores == second.scores
    assert np.isfinite(first.get_score())
    assert first.task_name == name


def test_retrieval_has_its_configs(tmp_path: Path) -> None:
    write(folder_of("SciFact", tmp_path), retrieval(random.Random(0)))
    loaded = load(planned("SciFact", tmp_path))
    part = loaded.data["default"]["test"]
    assert (len(part["corpus"]), len(part["queries"]), len(part["relevant_docs"])) == (20, 5, 5)
    assert result_of(loaded).scores == result_of(loaded).scores


def test_reranking_has_candidates(tmp_path: Path) -> None:
    write(folder_of("AskUbuntuDupQuestions", tmp_path), retrieval(random.Random(0), candidates=True))
    loaded = load(planned("AskUbuntuDupQuestions", tmp_path))
    assert loaded.data["default"]["test"]["top_ranked"]["q0"] == ["d0", "d1", "d2"]
    # The relevant one is among three candidates: at worst the third.
    assert result_of(loaded).get_score() > 1 / 3


def test_reranking_without_candidates_is_refused(tmp_path: Path) -> None:
    write(folder_of("AskUbuntuDupQuestions", tmp_path), retrieval(random.Random(0)))
    with pytest.raises(DataError, match=r"split test has no candidates to be ranked \(config top_ranked"):
        load(planned("AskUbuntuDupQuestions", tmp_path))


def test_languages_and_subsets_may_be_a_column(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [{**row, "lang": name} for name in ("en-en", "en-de", "ko-ko") for row in sts(rng)]
    write(folder_of("STS17", tmp_path), {"default": {"test": rows}})
    english = planned("STS17", tmp_path, subsets=["en-en"])
    assert english.subsets == ("en-en",)
    assert english.data.endswith("#en-en") and len(english.data.partition("#")[0]) == 64
    loaded = load(english)
    assert list(loaded.data) == ["en-en"] and loaded.fresh().hf_subsets == ["en-en"]
    assert [one["hf_subset"] for one in result_of(loaded).scores["test"]] == ["en-en"]
    korean = planned("STS17", tmp_path, languages=["kor"])
    assert korean.subsets == ("ko-ko",)
    assert korean.fingerprint == english.fingerprint
    assert result_of(load(korean)).get_score() != result_of(loaded).get_score()
    with pytest.raises(DataError, match=r"no subset es-en; found: en-en\."):
        load(planned("STS17", tmp_path, subsets=["en-en", "es-en"]))


def test_the_splits_and_subsets_of_a_benchmark_are_scored(tmp_path: Path) -> None:
    rng = random.Random(0)
    name = "MTOPDomainClassification"
    files = {"train": classes(rng), "test": classes(rng), "validation": classes(rng)}
    write(folder_of(name, tmp_path), {config: files for config in ("de", "en", "fr")})
    suite = Suite(name="x", tasks=(TaskEntry(benchmark="MTEB(eng, v2)"),))
    (of_hub,) = [one for one in planned_tasks(suite) if one.name == name]
    assert isinstance(of_hub, PlannedTask)
    assert (of_hub.subsets, of_hub.split, of_hub.official, of_hub.folder) == (("en",), "test", True, None)
    local = planned(name, tmp_path, subsets=["en"], split="test")
    for one in (of_hub, local):
        assert (one.make().hf_subsets, list(one.make().eval_splits)) == (["en"], ["test"])
    scores = result_of(load(local)).scores
    assert {split: [one["hf_subset"] for one in found] for split, found in scores.items()} == {"test": ["en"]}


def test_retrieval_in_several_languages(tmp_path: Path) -> None:
    configs: dict[str, Files] = {}
    for language in ("en", "de"):
        found = retrieval(random.Random(language))
        names = {"corpus": f"{language}-corpus", "queries": f"{language}-queries", "default": f"{language}-qrels"}
        configs |= {names[one]: {"validation": files["test"]} for one, files in found.items()}
    write(folder_of("XQuADRetrieval", tmp_path), configs)
    loaded = load(planned("XQuADRetrieval", tmp_path, languages=["deu", "eng"]))
    assert set(loaded.data) == {"de", "en"}
    assert len(result_of(loaded).scores["validation"]) == 2


def test_a_class_that_ignores_its_path_reaches_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    write(folder_of("SKQuadRetrieval", tmp_path), retrieval(random.Random(0)))
    with pytest.raises(ConnectionError, match="Offline"):
        load(planned("SKQuadRetrieval", tmp_path))
    assert not huggingface_hub.constants.HF_HUB_OFFLINE and not datasets.config.HF_HUB_OFFLINE


def test_clusters_drawn_by_a_used_object_drift_and_by_fresh_ones_do_not(tmp_path: Path) -> None:
    """mteb draws from the task object's random state, which every scoring advances."""
    name = "TwentyNewsgroupsClustering.v2"
    write(folder_of(name, tmp_path), {"default": {"test": clusters(random.Random(0))}})
    loaded = load(planned(name, tmp_path))
    used = loaded.fresh()
    used.max_documents_per_cluster = 20

    def score(task: Any) -> float:
        with quiet():
            return float(task.evaluate(Hashed(), "test", encode_kwargs={"batch_size": 8})["default"]["v_measure"])

    again = loaded.fresh()
    again.max_documents_per_cluster = 20
    assert score(used) != score(used)
    used = loaded.fresh()
    used.max_documents_per_cluster = 20
    assert score(used) == score(again)


def test_a_verified_folder_keeps_the_declared_revision(tmp_path: Path) -> None:
    from matryoshka_text.files import sha256_of

    folder = write(folder_of("STSBenchmark", tmp_path), {"default": {"test": sts(random.Random(0))}})
    revision = mteb.get_task("STSBenchmark").metadata.dataset["revision"]
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}
    manifest = {"repo": "mteb/stsbenchmark-sts", "revision": revision, "files": files}
    (folder / ".mtext.json").write_text(json.dumps(manifest))
    task = planned("STSBenchmark", tmp_path)
    assert task.official
    assert task.data == f"mteb/stsbenchmark-sts@{revision}"
    assert task.task_class.metadata.dataset == {"path": str(folder), "revision": revision}
    assert len(str(task.fingerprint)) == 64
    assert result_of(load(task)).dataset_revision == revision
    (folder / "default/test.jsonl").write_text(json.dumps(sts(random.Random(1))[0]))
    other = planned("STSBenchmark", tmp_path)
    assert not other.official
    assert other.fingerprint == other.data != task.fingerprint


def test_a_folder_of_another_revision_is_not_official(tmp_path: Path) -> None:
    from matryoshka_text.files import sha256_of

    folder = write(folder_of("STSBenchmark", tmp_path), {"default": {"test": sts(random.Random(0))}})
    files = {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}
    (folder / ".mtext.json").write_text(
        json.dumps({"repo": "mteb/stsbenchmark-sts", "revision": "0" * 40, "files": files})
    )
    assert not planned("STSBenchmark", tmp_path).official
