"""A submission as mteb's own tools see it: read back, registered, loaded, run, and scored again."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import mteb
import pytest
from mteb import ResultCache
from mteb.models import SentenceTransformerEncoderWrapper
from mteb.models.model_implementations import MODEL_REGISTRY

from matryoshka_text.errors import EvaluationError, RunError
from matryoshka_text.evaluation.models import Subject, open_subjects
from matryoshka_text.evaluation.mteb_compat import own_data_cache, quiet, registered
from matryoshka_text.evaluation.plan import Plan
from matryoshka_text.evaluation.scoring.results import model_meta, save_result
from matryoshka_text.evaluation.tasks.loaded import local_class
from matryoshka_text.evaluation.tasks.planned import PlannedTask
from matryoshka_text.fetch import MANIFEST, verified_revision
from matryoshka_text.publishing.meta import proposed_meta, read_module
from matryoshka_text.publishing.write import Submission, require_submittable, write_submission
from matryoshka_text.rows import Row
from matryoshka_text.suite import Suite
from matryoshka_text.vectors.views import View

pytestmark = pytest.mark.slow

COMMIT = "c" * 40
NAME = "acme/tiny-3"
CARD = """---
language: en
license: apache-2.0
base_model: acme/base
datasets: [mteb/banking77]
---
# Tiny
"""
DIMS = (8, 16, 32)


def hub_cache(model: Path, root: Path, patch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds the model as acme/tiny-3."""
    repo = root / f"models--{NAME.replace('/', '--')}"
    shutil.copytree(model, repo / "snapshots" / COMMIT)
    (repo / "snapshots" / COMMIT / "README.md").write_text(CARD)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(COMMIT)
    patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    return repo / "snapshots" / COMMIT


def declared_data(folder: Path, task: Any) -> None:
    """A manifest that says: the bytes of the revision that mteb declares."""
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    hub = task.metadata.dataset
    manifest = {"repo": hub["path"], "revision": hub["revision"], "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert verified_revision(folder) == hub["revision"]


def planned(name: str, folder: Path, *, official: bool) -> PlannedTask:
    original = type(mteb.get_task(name))
    hub = original.metadata.dataset
    if official:
        declared_data(folder, original)
    data = f"{hub['path']}@{hub['revision']}" if official else "f" * 64
    task_class = local_class(original, folder, hub["revision"] if official else data)
    about = original.metadata
    return PlannedTask(name, about.type, about.main_score, None, folder, data, task_class, official)


@dataclass
class Scored:
    """An evaluation whose scores are plain mteb's, one model object a dim."""

    plan: Plan
    rows: list[Row]
    out: Path
    subject: Subject

    def at(self, task: str, dim: int) -> float:
        return next(row.score for row in self.rows if (row.task, row.dim) == (task, dim))

    def submit(self, directory: Path, **changes: Any) -> Submission:
        return write_submission(directory, **{"out": self.out, "plan": self.plan, "rows": self.rows, **changes})


def score(plan: Plan, out: Path) -> list[Row]:
    from sentence_transformers import SentenceTransformer

    subject = plan.subjects[0]
    encoder = subject.encoder("cpu")
    rows = []
    for task in plan.tasks:
        assert isinstance(task, PlannedTask)
        for dim in plan.dims:
            model = SentenceTransformer(str(subject.path), truncate_dim=dim, device="cpu")
            with quiet(), own_data_cache(task.fingerprint):
                wrapped = SentenceTransformerEncoderWrapper(model)
                result = mteb.evaluate(wrapped, task.make(), cache=None, show_progress_bar=False).task_results[0]
            save_result(out, result, model_meta(subject, encoder, View(dim), normalize=False), encode_kwargs={"a": 1})
            rows.append(
                Row(
                    model=subject.name,
                    weights=subject.weights,
                    origin=subject.origin,
                    task=task.name,
                    type=task.type,
                    split="test",
                    metric=task.metric,
                    dim=dim,
                    width=subject.width,
                    bytes_per_vector=4 * dim,
                    score=100 * float(result.get_score(splits=["test"])),
                    normalize=False,
                    versions={"mteb": mteb.__version__},
                    data=task.data,
                    date=datetime.now(UTC),
                )
            )
    return rows


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as made:
        yield made


@pytest.fixture(scope="module")
def scored(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Scored:
    root = tmp_path_factory.mktemp("submission")
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "datasets")
    hub_cache(tiny_model, root / "hub", patch)
    data = small_data_set(root / "data") / "mteb"
    tasks = (
        planned("STSBenchmark", data / "mteb__stsbenchmark-sts", official=True),
        planned("Banking77Classification", data / "mteb__banking77", official=True),
    )
    (subject,) = open_subjects([NAME])
    suite = Suite.model_validate({"name": "s", "normalize": False, "tasks": [{"task": one.name} for one in tasks]})
    plan = Plan(suite, tasks, (subject,), DIMS)
    return Scored(plan, score(plan, root / "out"), root / "out", subject)


def small_data_set(root: Path) -> Path:
    """STSBenchmark and Banking77 of a few dozen texts each."""
    words = "cat dog bank card money street guitar red blue woman man playing running sleeping house water".split()
    pairs, texts = root / "mteb/mteb__stsbenchmark-sts", root / "mteb/mteb__banking77"
    for folder in (pairs, texts):
        folder.mkdir(parents=True)
    rows = [
        {
            "sentence1": " ".join(words[n % 7 : n % 7 + 5]),
            "sentence2": " ".join(words[n % 5 : n % 5 + 4]),
            "score": n % 6 / 1,
        }
        for n in range(40)
    ]
    for split in ("validation", "test"):
        (pairs / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split in ("train", "test"):
        labelled = [{"text": f"{words[n % 4]} {words[n % 11]} {words[n % 13]}", "label": n % 4} for n in range(48)]
        (texts / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
    return root


@pytest.fixture(scope="module")
def submitted(scored: Scored, tmp_path_factory: pytest.TempPathFactory) -> Submission:
    return scored.submit(tmp_path_factory.mktemp("to") / "submission")


def test_the_files_are_where_the_results_repository_has_them(submitted: Submission) -> None:
    base = f"results/acme__tiny-3/{COMMIT}"
    of_each = ("Banking77Classification.json", "STSBenchmark.json", "model_meta.json", "run_settings.jsonl")
    places = [base, f"{base}/experiments/embed_dim_8", f"{base}/experiments/embed_dim_16"]
    found = {one.relative_to(submitted.folder).as_posix() for one in submitted.folder.rglob("*") if one.is_file()}
    beside = {"tiny_3.py", "SUBMISSION.md", "mteb_mock_run_results.md"}
    assert found == {f"{place}/{name}" for place in places for name in of_each} | beside
    assert (submitted.results, submitted.left_out) == (6, ())
    assert submitted.apart < 1e-3
    settings = (submitted.folder / base / "run_settings.jsonl").read_text().splitlines()
    assert {json.loads(line)["task"] for line in settings} == {"STSBenchmark", "Banking77Classification"}
    assert all(json.loads(line)["encode_kwargs"] == {"a": 1} for line in settings)


def test_mteb_reads_every_score_back_under_the_submissions_name(submitted: Submission, scored: Scored) -> None:
    loaded = ResultCache(submitted.folder).load_results(load_experiments="match_name", include_remote=False)
    found = {
        (result.task_name, one.experiment_name): 100 * result.get_score()
        for one in loaded.model_results
        for result in one.task_results
    }
    names = {8: "embed_dim_8", 16: "embed_dim_16", 32: None}
    assert found == {(row.task, names[row.dim]): pytest.approx(row.score, abs=1e-4) for row in scored.rows}
    assert {(one.model_name, one.model_revision) for one in loaded.model_results} == {(NAME, COMMIT)}
    sts = mteb.get_task("STSBenchmark").metadata.dataset["revision"]
    revisions = {r.dataset_revision for one in loaded.model_results for r in one.task_results}
    assert sts in revisions and not any(len(one) == 64 for one in revisions)


def test_what_is_written_of_a_dim_is_what_mteb_itself_writes(
    submitted: Submission, scored: Scored, tmp_path: Path
) -> None:
    entry = read_module(submitted.folder / "tiny_3.py")
    with registered(entry), quiet():
        model = mteb.get_model(NAME, embed_dim=8)
        assert ResultCache(tmp_path).get_task_result_path("STSBenchmark", model.mteb_model_meta) == (
            tmp_path / f"results/acme__tiny-3/{COMMIT}/experiments/embed_dim_8/STSBenchmark.json"
        )
    written = json.loads(
        (submitted.folder / f"results/acme__tiny-3/{COMMIT}/experiments/embed_dim_8/model_meta.json").read_text()
    )
    meta = json.loads(json.dumps(model.mteb_model_meta.to_dict(), default=str))
    for one in (written, meta):  # a set of mteb's, in the order of the process's hashes
        one["training_datasets"].sort()
    assert written == meta


def test_the_entry_says_what_is_known_and_no_more(submitted: Submission) -> None:
    entry = read_module(submitted.folder / "tiny_3.py")
    assert (entry.name, entry.revision, entry.embed_dim) == (NAME, COMMIT, [8, 16, 32])
    assert (entry.languages, entry.license, entry.adapted_from) == (["eng-Latn"], "apache-2.0", "acme/base")
    assert entry.training_datasets == {"Banking77Classification", "Banking77Classification.v2"}
    assert (entry.max_tokens, entry.use_instructions, entry.open_weights) == (64, False, True)
    assert entry.reference == "https://huggingface.co/acme/tiny-3"
    assert entry.loader is SentenceTransformerEncoderWrapper
    assert (entry.release_date, entry.public_training_code, entry.citation) == (None, None, None)
    assert entry.n_parameters is not None and entry.n_embedding_parameters is not None
    assert 0 < entry.n_embedding_parameters < entry.n_parameters
    text = (submitted.folder / "SUBMISSION.md").read_text()
    assert "release_date, public_training_code, public_training_data could not be known" in text
    assert f"mteb submit-results --models {NAME} --output-folder {submitted.folder}" in text
    assert (submitted.folder / "mteb_mock_run_results.md").read_text().count("| ✓ |") >= 20


@pytest.mark.parametrize("dim", [8, 32])
@pytest.mark.parametrize("task", ["STSBenchmark", "Banking77Classification"])
def test_anybody_repeats_a_score_by_name_and_dim(submitted: Submission, scored: Scored, task: str, dim: int) -> None:
    entry = read_module(submitted.folder / "tiny_3.py")
    one = next(each for each in scored.plan.tasks if each.name == task)
    assert isinstance(one, PlannedTask)
    with registered(entry), quiet(), own_data_cache(one.fingerprint):
        model = mteb.get_model(NAME, embed_dim=dim)
        result = mteb.evaluate(model, one.make(), cache=None, show_progress_bar=False).task_results[0]
    assert 100 * result.get_score() == pytest.approx(scored.at(task, dim), abs=1e-4)
    assert NAME not in MODEL_REGISTRY


def test_the_command_submits_full_width_and_the_script_every_dim(submitted: Submission) -> None:
    cache = ResultCache(submitted.folder)
    alone = cache._get_unsubmitted_results(cache._normalize_models(None))
    assert {path.parent.name for paths in alone.values() for path in paths} == {COMMIT}
    text = (submitted.folder / "SUBMISSION.md").read_text()
    script = [line.strip() for line in text.splitlines() if line.startswith("    ") and "mteb." in line]
    scope: dict[str, Any] = {"mteb": mteb}
    with registered(read_module(submitted.folder / "tiny_3.py")):
        exec("\n".join(line for line in script if line.startswith("metas")), scope)
    every = cache._get_unsubmitted_results(scope["metas"])
    assert {path.parent.name for paths in every.values() for path in paths} == {COMMIT, "embed_dim_8", "embed_dim_16"}
    assert "submit_results(metas" in script[-1]


def chosen(scored: Scored, tmp_path: Path, plan: Plan, rows: list[Row]) -> list[str]:
    """What was left out, of a choice without the checks."""
    from matryoshka_text.publishing.choice import choose

    return [str(one) for one in choose(plan, rows, scored.out).left_out]


def test_resized_prefixes_are_left_out_and_unit_full_width_is_not(scored: Scored, tmp_path: Path) -> None:
    from matryoshka_text.publishing.choice import choose

    resized = [row.model_copy(update={"normalize": True}) for row in scored.rows if row.task == "STSBenchmark"]
    choice = choose(replace(scored.plan, tasks=scored.plan.tasks[:1]), resized, scored.out)
    assert [one.dim for one in choice.results] == [None]
    assert [str(one) for one in choice.left_out] == [
        "STSBenchmark at 8, 16 dims: brought back to length 1, which mteb's loader does not do"
    ]


def test_other_data_other_methods_and_lacking_splits_are_left_out(scored: Scored, tmp_path: Path) -> None:
    sts, banking = scored.plan.tasks
    assert isinstance(sts, PlannedTask) and isinstance(banking, PlannedTask)
    unofficial = replace(scored.plan, tasks=(replace(sts, official=False), banking))
    assert "STSBenchmark: its data (" in chosen(scored, tmp_path, unofficial, scored.rows)[0]
    own = replace(scored.plan, tasks=(replace(sts, name="mine"), banking))
    assert chosen(scored, tmp_path, own, scored.rows) == ["mine: no task of mteb"]
    drawn = [row.model_copy(update={"method": "random", "seed": 1}) for row in scored.rows]
    assert chosen(scored, tmp_path, scored.plan, drawn) == [
        "STSBenchmark: has no score",
        "Banking77Classification: has no score",
    ]
    other = [row.model_copy(update={"split": "validation"}) for row in scored.rows]
    assert "STSBenchmark: the leaderboard reads the split test, which was not scored" in chosen(
        scored, tmp_path, scored.plan, other
    )


def test_where_nothing_is_left_nothing_is_written(scored: Scored, tmp_path: Path) -> None:
    plan = replace(scored.plan, tasks=tuple(replace(one, official=False) for one in scored.plan.tasks))  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="nothing can be submitted") as caught:
        scored.submit(tmp_path / "to", plan=plan)
    assert "--raw-prefix" in str(caught.value) and "mtext data fetch" in str(caught.value)
    assert not (tmp_path / "to").exists()


def test_a_result_file_that_is_not_the_rows_is_found_and_nothing_is_written(scored: Scored, tmp_path: Path) -> None:
    wrong = [row.model_copy(update={"score": row.score + 0.001}) for row in scored.rows]
    with pytest.raises(EvaluationError, match="of 6 scores mteb reads 6 otherwise"):
        scored.submit(tmp_path / "to", rows=wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_score_that_mteb_does_not_repeat_is_refused(scored: Scored, tmp_path: Path) -> None:
    from matryoshka_text.publishing.check import require_repeated

    meta = proposed_meta(
        scored.subject.encoder("cpu"), scored.subject.path, name=NAME, revision=COMMIT, dims=DIMS, prompts={}
    )
    task = scored.plan.tasks[0]
    assert isinstance(task, PlannedTask)
    right = {(task.name, "test", 8): scored.at(task.name, 8)}
    assert require_repeated(meta, task, right, 8) < 1e-4
    with pytest.raises(
        EvaluationError, match=r"STSBenchmark, test, 8 dims: .* was scored, and mteb's own get_model gives"
    ):
        require_repeated(meta, task, {(task.name, "test", 8): right[task.name, "test", 8] + 0.1}, 8)


def test_prompts_of_the_suite_are_given_to_mtebs_loader(scored: Scored) -> None:
    encoder = scored.subject.encoder("cpu")
    meta = proposed_meta(
        encoder, scored.subject.path, name=NAME, revision=COMMIT, dims=(32,), prompts={"query": "find: "}
    )
    assert meta.loader_kwargs == {"model_prompts": {"query": "find: "}}
    assert meta.use_instructions is True
    assert meta.embed_dim == 32


def test_a_model_that_mteb_has_keeps_what_mteb_says_of_it(scored: Scored) -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    meta = proposed_meta(
        scored.subject.encoder("cpu"), scored.subject.path, name=name, revision=COMMIT, dims=(48, 384), prompts={}
    )
    before = MODEL_REGISTRY[name]
    assert (meta.embed_dim, meta.revision) == ([48, 384], COMMIT)
    assert (meta.training_datasets, meta.n_parameters) == (before.training_datasets, before.n_parameters)


def test_a_model_of_a_folder_has_to_be_published_first(tiny_model: Path, scored: Scored, tmp_path: Path) -> None:
    (subject,) = open_subjects([str(tiny_model)])
    with pytest.raises(EvaluationError, match=r"nobody can repeat its scores; publish it first \(hf upload"):
        require_submittable(replace(scored.plan, subjects=(subject,)), tmp_path / "to")
    # The published copy has the same weights, tokenizer and configuration.
    assert require_submittable(
        replace(scored.plan, subjects=(subject,)), tmp_path / "to", published=f"{NAME}@{COMMIT}"
    ) == (NAME, COMMIT)
    with pytest.raises(EvaluationError, match=r"allowed: org/name@commit"):
        require_submittable(replace(scored.plan, subjects=(subject,)), tmp_path / "to", published=f"{NAME}@main")


def test_another_model_is_not_taken_for_the_published_one(
    tiny_model: Path, other_model: Path, scored: Scored, tmp_path: Path
) -> None:
    (subject,) = open_subjects([str(other_model)])
    with pytest.raises(EvaluationError, match="holds other files than"):
        require_submittable(replace(scored.plan, subjects=(subject,)), tmp_path / "to", published=f"{NAME}@{COMMIT}")


def test_a_default_width_below_the_full_one_is_refused(scored: Scored, tmp_path: Path) -> None:
    folder = tmp_path / "models--acme--cut/snapshots" / COMMIT
    shutil.copytree(scored.subject.path, folder)
    settings = folder / "config_sentence_transformers.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "truncate_dim": 16}))
    with pytest.raises(EvaluationError, match="truncate_dim is 16, so mteb's get_model gives 16 of 32 dims"):
        require_submittable(replace(scored.plan, subjects=(replace(scored.subject, path=folder),)), tmp_path / "to")


def test_what_cannot_be_submitted_is_told_before_anything_is_encoded(scored: Scored, tmp_path: Path) -> None:
    plan = replace(scored.plan, tasks=tuple(replace(one, official=False) for one in scored.plan.tasks))  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="nothing can be submitted"):
        require_submittable(plan, tmp_path / "to")
    suite = scored.plan.suite.model_copy(update={"normalize": True})
    assert require_submittable(replace(scored.plan, suite=suite), tmp_path / "to") == (NAME, COMMIT)
    raw = replace(scored.subject, unit=False)
    with pytest.raises(EvaluationError, match="add --raw-prefix"):
        require_submittable(replace(scored.plan, suite=suite, subjects=(raw,)), tmp_path / "to")
    cut = replace(scored.subject, layers=1)
    with pytest.raises(EvaluationError, match="submit without --layers"):
        require_submittable(replace(scored.plan, subjects=(cut,)), tmp_path / "to")
    packaged = replace(scored.subject, path=tmp_path, origin="package")
    with pytest.raises(EvaluationError, match="run `hf download acme/tiny-3`, copy the hub cache here"):
        require_submittable(replace(scored.plan, subjects=(packaged,)), tmp_path / "to")


def test_somebody_elses_folder_is_not_replaced_and_an_older_submission_is(
    scored: Scored, submitted: Submission, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is there and is no submission"):
        require_submittable(scored.plan, tmp_path)
    assert require_submittable(scored.plan, submitted.folder) == (NAME, COMMIT)
