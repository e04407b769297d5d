"""The whole evaluation on small data: once encoded, every dim scored, nothing shared between models."""

import json
from pathlib import Path

import pytest
from mteb import ResultCache

from matryoshka_text.errors import DataError, RunError
from matryoshka_text.evaluation import Evaluation, evaluate
from matryoshka_text.evaluation.scoring import score as scoring
from matryoshka_text.rows import read_rows
from matryoshka_text.suite import Suite, TaskEntry

SUITE = Suite(
    name="small",
    tasks=(
        TaskEntry(task="STSBenchmark"),
        TaskEntry(task="Banking77Classification"),
        TaskEntry(retrieval="pets"),
    ),
)
DIMS = (4, 8, 16, 32)


def run(model: Path, data: Path, out: Path, **settings: object) -> Evaluation:
    return evaluate(model, SUITE, data_root=data, out=out, device="cpu", dims=DIMS, **settings)  # type: ignore[arg-type]


def test_each_text_is_encoded_once_for_all_dims_and_never_again(
    small_data: Path, tiny_model: Path, tmp_path: Path, encoded: list[str]
) -> None:
    first = run(tiny_model, small_data, tmp_path / "out")
    # 60 sentences, 48 + 48 requests, 8 judged queries and 25 documents: all different.
    assert len(encoded) == len(set(encoded)) == 189
    assert sum(stage.encoded for stage in first.stages) == 189
    encoded.clear()
    second = run(tiny_model, small_data, tmp_path / "out")
    assert encoded == []
    assert [stage.note for stage in second.stages] == ["scored before"] * 3
    assert second.rows == first.rows
    assert read_rows(tmp_path / "out/rows.jsonl") == sorted(first.rows, key=lambda row: row.date)
    (tmp_path / "out/rows.jsonl").unlink()
    third = run(tiny_model, small_data, tmp_path / "out")
    assert encoded == []
    assert [stage.found for stage in third.stages] == [60, 96, 33]
    assert [one.score for one in third.rows] == [one.score for one in first.rows]


def test_another_dim_scores_that_dim_alone(
    small_data: Path, tiny_model: Path, tmp_path: Path, encoded: list[str]
) -> None:
    run(tiny_model, small_data, tmp_path / "out")
    encoded.clear()
    more = evaluate(tiny_model, SUITE, data_root=small_data, out=tmp_path / "out", device="cpu", dims=(4, 5))
    assert encoded == []
    assert [stage.note for stage in more.stages] == ["2 of 3 scored before"] * 3
    assert len(read_rows(tmp_path / "out/rows.jsonl")) == 12 + 3


def test_other_data_prompts_or_a_lost_result_are_scored_anew(
    small_data: Path, tiny_model: Path, tmp_path: Path, encoded: list[str]
) -> None:
    def notes(suite: Suite = SUITE) -> list[str]:
        encoded.clear()
        found = evaluate(tiny_model, suite, data_root=small_data, out=tmp_path / "out", device="cpu", dims=DIMS)
        return [stage.note for stage in found.stages]

    notes()
    next((tmp_path / "out/results").glob("*/*/STSBenchmark.json")).unlink()
    assert notes() == ["3 of 4 scored before", "scored before", "scored before"]
    with (small_data / "mteb/mteb__banking77/train.jsonl").open("a") as file:
        file.write(json.dumps({"text": "one more", "label": 1, "label_text": "dog"}) + "\n")
    assert notes() == ["scored before", "", "scored before"]
    assert set(encoded) <= {"one more"}
    prompted = SUITE.model_copy(update={"prompts": {"query": "ask: "}})
    assert notes(prompted) == ["", "", ""]
    assert len(encoded) == 8  # the queries; documents and sentences have no prompt


def test_a_store_of_its_own_serves_another_out(
    small_data: Path, tiny_model: Path, tmp_path: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTEXT_VECTOR_STORE", str(tmp_path / "store"))
    run(tiny_model, small_data, tmp_path / "a")
    encoded.clear()
    run(tiny_model, small_data, tmp_path / "b")
    assert encoded == []
    assert not (tmp_path / "b/vectors").exists()


def test_scores_are_those_of_mteb_with_plain_sentence_transformers(
    small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    import mteb
    from sentence_transformers import SentenceTransformer

    from matryoshka_text.evaluation.plan import plan_evaluation

    found = run(tiny_model, small_data, tmp_path / "out")
    for task in plan_evaluation(tiny_model, SUITE, data_root=small_data).tasks:
        for dim in (None, 8):
            if dim and task.type == "Classification":
                continue  # mteb leaves prefixes as they are; test_raw_prefixes compares those
            model = SentenceTransformer(str(tiny_model), device="cpu", truncate_dim=dim)
            theirs = mteb.evaluate(model, task.make(), cache=None, co2_tracker=False, show_progress_bar=False)
            assert found.score(task.name, dim or 32) == pytest.approx(
                100 * theirs.task_results[0].get_score(), abs=1e-3
            )


def test_raw_prefixes_are_mtebs_own(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    import mteb
    from sentence_transformers import SentenceTransformer

    raw = SUITE.model_copy(update={"normalize": False, "tasks": SUITE.tasks[1:2]})
    found = evaluate(tiny_model, raw, data_root=small_data, out=tmp_path / "out", device="cpu", dims=(8,))
    model = SentenceTransformer(str(tiny_model), device="cpu", truncate_dim=8)
    task = found.plan.tasks[0].make()
    theirs = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    assert found.score(task.metadata.name, 8) == pytest.approx(100 * theirs.task_results[0].get_score(), abs=1e-6)
    assert not found.rows[0].normalize


def test_two_models_never_share_results(small_data: Path, tiny_model: Path, other_model: Path, tmp_path: Path) -> None:
    both = run(tiny_model, small_data, tmp_path / "both", against=[other_model])
    alone = run(other_model, small_data, tmp_path / "alone")
    ours, theirs = both.plan.subjects
    assert ours.name == theirs.name and ours.weights != theirs.weights
    for task in SUITE.tasks:
        for dim in DIMS:
            assert both.score(task.name, dim, model=theirs.label) == alone.score(task.name, dim)
    assert {row.weights for row in both.rows} == {ours.weights, theirs.weights}
    assert both.score("STSBenchmark", 8) != both.score("STSBenchmark", 8, model=theirs.label)
    assert len(list((tmp_path / "both/results").glob("*/*/STSBenchmark.json"))) == 2


def test_the_layout_is_mtebs(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    found = run(tiny_model, small_data, tmp_path / "out")
    results = ResultCache(tmp_path / "out").load_results(load_experiments="match_name").model_results
    by_dim = {one.experiment_name: {r.task_name: 100 * r.get_score() for r in one.task_results} for one in results}
    assert set(by_dim) == {None, *(f"embed_dim_{dim}__normalize_True" for dim in (4, 8, 16))}
    for dim, name in ((32, None), (8, "embed_dim_8__normalize_True")):
        for task in SUITE.tasks:
            assert by_dim[name][task.name] == pytest.approx(found.score(task.name, dim), abs=1e-3)
    one = json.loads(next((tmp_path / "out/results").glob("*/*/STSBenchmark.json")).read_text())
    assert one["dataset_revision"] == found.plan.tasks[0].data


def test_the_files_of_an_evaluation(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    found = run(tiny_model, small_data, tmp_path / "out")
    names = {"curve.png", "curve.svg", "items", "report.html", "results", "results.md", "rows.jsonl", "table.txt"}
    names |= {"vectors"}
    assert {one.name for one in (tmp_path / "out").iterdir() if one.name[0] != "."} == names
    row = read_rows(tmp_path / "out/rows.jsonl")[3]
    assert (row.dim, row.bytes_per_vector, row.normalize, row.width) == (4, 16, True, 32)
    assert row.interval is not None and row.interval[0] < row.score < row.interval[1]
    assert {"mteb", "torch", "sentence-transformers", "matryoshka-text"} <= set(row.versions)
    assert [table.title for table in found.tables()] == ["STSBenchmark", "Banking77Classification", "pets", "Mean"]


def test_a_fresh_task_for_each_dim(
    small_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mteb

    seen: list[object] = []
    original = mteb.evaluate

    def watching(model: object, task: object, **settings: object) -> object:
        seen.append(task)
        return original(model, task, **settings)

    monkeypatch.setattr(scoring.mteb, "evaluate", watching)
    run(tiny_model, small_data, tmp_path / "out")
    assert len(seen) == len({id(task) for task in seen}) == len(DIMS) * len(SUITE.tasks)


def test_a_split_can_be_chosen(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    entries = tuple(TaskEntry(task="STSBenchmark", split=split) for split in ("validation", "test"))
    both = SUITE.model_copy(update={"tasks": entries})
    found = evaluate(tiny_model, both, data_root=small_data, out=tmp_path / "out", dims=(8,), device="cpu")
    assert [(row.split, row.dim) for row in found.rows] == [
        ("validation", 8),
        ("validation", 32),
        ("test", 8),
        ("test", 32),
    ]
    assert [table.title for table in found.tables()] == ["STSBenchmark (validation)", "STSBenchmark", "Mean"]
    whole = json.loads(next((tmp_path / "out/results").glob("*/*/STSBenchmark.json")).read_text())
    assert set(whole["scores"]) == {"validation", "test"}


def test_a_failing_task_does_not_stop_the_others(
    small_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = scoring.save_result

    def failing(out: Path, result: object, *rest: object, **settings: object) -> Path:
        if result.task_name == "Banking77Classification":  # type: ignore[attr-defined]
            raise RuntimeError("broken")
        return original(out, result, *rest, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "save_result", failing)
    found = run(tiny_model, small_data, tmp_path / "out", partial=True)
    assert {row.task for row in found.rows} == {"STSBenchmark", "pets"}
    assert [str(one) for one in found.failures] == [
        f"Banking77Classification · {tiny_model.parent.name}: RuntimeError: broken"
    ]


def test_vectors_with_nan_name_texts_and_model(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file
    from sentence_transformers import SentenceTransformer

    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_model, damaged)
    tensors = load_file(damaged / "model.safetensors")
    name = next(name for name in tensors if "word_embeddings" in name)
    # Words that opening the model does not try: finite numbers, but no finite length.
    tried = SentenceTransformer(str(tiny_model), device="cpu").preprocess(["a short text"])["input_ids"].unique()
    kept = tensors[name][tried].clone()
    tensors[name][:] = 3e38
    tensors[name][tried] = kept
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    found = run(damaged, small_data, tmp_path / "out", partial=True)
    assert found.rows == ()
    assert len(found.failures) == 3
    assert "NaN or infinite numbers for" in found.failures[0].reason
    assert list((tmp_path / "out").rglob("*.safetensors")) == []


def test_constant_vectors_are_no_score(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    flat = tmp_path / "flat"
    shutil.copytree(tiny_model, flat)
    tensors = load_file(flat / "model.safetensors")
    last = {name: t * 0 for name, t in tensors.items() if name.endswith("output.LayerNorm.weight")}
    save_file({**tensors, **last}, flat / "model.safetensors", metadata={"format": "pt"})
    only_sts = SUITE.model_copy(update={"tasks": SUITE.tasks[:1]})
    settings = {"data_root": small_data, "out": tmp_path / "out", "dims": (8,), "device": "cpu"}
    found = evaluate(flat, only_sts, **settings, partial=True)  # type: ignore[arg-type]
    assert not found.rows
    assert len(found.failures) == 1


def test_a_folder_that_cannot_be_written(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be written .*--out"):
        run(tiny_model, small_data, tmp_path / "file/out")


def test_an_unknown_score_is_an_error(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    found = run(tiny_model, small_data, tmp_path / "out")
    with pytest.raises(KeyError, match=r"no score of .* on STSBenchmark at 5 dims"):
        found.score("STSBenchmark", 5)


def test_the_score_of_every_column_is_that_of_its_table(
    small_data: Path, tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "sample.txt").write_text("\n".join(f"text number {n} of the sample" for n in range(80)))
    found = run(
        tiny_model,
        small_data,
        tmp_path / "out",
        against=[other_model],
        layers=(1, 2),
        baselines=("random", "pca", "svd", "projection"),
        precisions=("float32", "int8", "binary"),
        sample=tmp_path / "sample.txt",
        partial=True,
    )
    # The signs of four coordinates of a random model hardly differ.
    assert all("4 dims binary" in one.reason for one in found.failures)
    table = found.tables()[0]
    assert len(set(table.labels)) == len(table.labels) == 4 * 3 + 4
    for label, scores in zip(table.labels, table.scores, strict=True):
        for dim, score in scores.items():
            assert found.score("STSBenchmark", dim, model=label) == pytest.approx(score)
    assert len({round(scores[8], 6) for scores in table.scores}) > 12


def test_components_need_a_sample_that_gives_them(
    small_data: Path, tiny_model: Path, tmp_path: Path, encoded: list[str]
) -> None:
    (tmp_path / "sample.txt").write_text("\n".join(f"text {n}" for n in range(12)))
    with pytest.raises(DataError, match=r"sample: 12 different texts give no 32 components .* more than 32 texts"):
        run(tiny_model, small_data, tmp_path / "out", baselines=("pca",), sample=tmp_path / "sample.txt")
    assert encoded == []


def test_a_view_that_fails_costs_no_other(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    # All but a few texts of the sample are the task's own, and are left out of it.
    rows = [json.loads(line) for line in (small_data / "mteb/mteb__banking77/train.jsonl").read_text().splitlines()]
    texts = [row["text"] for row in rows] + [f"another text {n}" for n in range(5)]
    (tmp_path / "sample.txt").write_text("\n".join(texts))
    settings = {"baselines": ("pca",), "sample": tmp_path / "sample.txt"}
    found = run(tiny_model, small_data, tmp_path / "out", **settings, partial=True)
    assert [str(one) for one in found.failures] == [
        f"Banking77Classification · {tiny_model.parent.name}: at {dims}: pca: 5 texts of the sample give no {dim} "
        "components; give a larger sample, or fewer dims"
        for dims, dim in (("32 dims pca", 32), ("16 dims pca", 16), ("8 dims pca", 8))
    ]
    of_task = {(row.dim, row.method) for row in found.rows if row.task == "Banking77Classification"}
    assert of_task == {(4, "first"), (8, "first"), (16, "first"), (32, "first"), (4, "pca")}
    assert (tmp_path / "out/report.html").is_file()


def test_prompts_and_samples_have_results_of_their_own(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    def scores(prompt: str) -> list[float]:
        suite = SUITE.model_copy(update={"tasks": SUITE.tasks[2:], "prompts": {"query": prompt}})
        found = evaluate(tiny_model, suite, data_root=small_data, out=tmp_path / "out", device="cpu", dims=(8,))
        return [row.score for row in found.rows] + [stage.note for stage in found.stages]

    first = scores("cat cat cat: ")
    other = scores("money: ")
    assert first[:2] != other[:2]
    assert scores("cat cat cat: ") == [*first[:2], "scored before"]
    assert len(list((tmp_path / "out/results").rglob("pets.json"))) == 4


def test_a_result_file_that_is_another_or_damaged_is_written_again(
    small_data: Path, tiny_model: Path, tmp_path: Path, encoded: list[str]
) -> None:
    first = run(tiny_model, small_data, tmp_path / "out")
    encoded.clear()
    files = {one.name: one for one in (tmp_path / "out/results").glob("*/*/*.json")}
    files["STSBenchmark.json"].write_text('{"trunc')
    other = json.loads(files["pets.json"].read_text())
    other["scores"]["test"][0]["main_score"] = 0.123
    files["pets.json"].write_text(json.dumps(other))
    next((tmp_path / "out/items").rglob("Banking77*")).unlink()
    again = run(tiny_model, small_data, tmp_path / "out")
    assert [stage.note for stage in again.stages] == ["3 of 4 scored before"] * 3
    assert encoded == []
    assert {row.key: row.score for row in again.rows} == {row.key: row.score for row in first.rows}
    assert [stage.note for stage in run(tiny_model, small_data, tmp_path / "out").stages] == ["scored before"] * 3


def test_rows_that_another_program_adds_meanwhile_are_taken(
    small_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matryoshka_text.evaluation.run import Run

    original = Run.load

    def overtaken(self: Run) -> None:
        original(self)
        monkeypatch.setattr(Run, "load", original)
        run(tiny_model, small_data, tmp_path / "out")

    monkeypatch.setattr(Run, "load", overtaken)
    found = run(tiny_model, small_data, tmp_path / "out")
    assert [stage.note for stage in found.stages] == ["scored before"] * 3
    assert len(read_rows(tmp_path / "out/rows.jsonl")) == 12


def test_a_store_that_cannot_be_written(
    small_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MTEXT_VECTOR_STORE", str(tmp_path / "file/store"))
    with pytest.raises(RunError, match=r"file/store: cannot be written .*give another folder with MTEXT_VECTOR_STORE"):
        run(tiny_model, small_data, tmp_path / "out")


def test_two_poolings_side_by_side(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    transformer = SentenceTransformer(str(tiny_model), device="cpu")[0]
    pooling = Pooling(32, pooling_mode=("mean", "cls"))
    SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu").save(str(tmp_path / "wide"))
    only_sts = SUITE.model_copy(update={"tasks": SUITE.tasks[:1]})
    found = evaluate(tmp_path / "wide", only_sts, data_root=small_data, out=tmp_path / "out", dims=(8,), device="cpu")
    found.require_success()
    assert [row.dim for row in found.rows] == [8, 64]


def test_the_rest_after_a_kill_is_not_judged_alone(
    small_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matryoshka_text.evaluation.scoring import score as module

    judged: list[int] = []
    monkeypatch.setattr(module, "require_vocabulary", lambda tokenizer, texts, **settings: judged.append(len(texts)))
    only_sts = SUITE.model_copy(update={"tasks": SUITE.tasks[:1]})
    settings = {"data_root": small_data, "out": tmp_path / "out", "dims": (8,), "device": "cpu"}
    evaluate(tiny_model, only_sts, **settings)  # type: ignore[arg-type]
    shards = sorted((tmp_path / "out/vectors").rglob("*.safetensors"))
    assert judged == [30, 30]
    (tmp_path / "out/rows.jsonl").unlink()
    shards[0].unlink()
    evaluate(tiny_model, only_sts, **settings)  # type: ignore[arg-type]
    assert judged[2:] == [30] * len(judged[2:])
