import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from matryoshka_text import load_recipe, train
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import MtextError, RecipeError, RunError, TrainingError
from matryoshka_text.training.job import TrainedRun
from matryoshka_text.training.loop import Loop
from matryoshka_text.training.streams import advice

Write = Callable[..., Path]
DISTILL = {"kind": "distill", "pair_weight": 10.0}


def _metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def _same(first: Path, second: Path) -> bool:
    a, b = _weights(first), _weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    "objectives", [[{"kind": "info_nce"}], [DISTILL], [{"kind": "info_nce", "weight": 0.5}, DISTILL]]
)
def test_a_run_leaves_a_model_and_its_records(write_recipe: Write, tmp_path: Path, objectives: list[Any]) -> None:
    path = write_recipe(objectives=objectives)
    run = train(path, out=tmp_path / "run")
    assert sorted(p.name for p in run.folder.iterdir() if not p.name.startswith(".")) == [
        "checkpoints",
        "environment.json",
        "metrics.jsonl",
        "model",
        "recipe.yaml",
    ]
    stored = load_recipe(run.folder / "recipe.yaml")
    assert load_recipe(path).filled_from(stored).hash8 == stored.hash8
    lines = _metrics(run.folder)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert set(lines[0]["per_dim"]) == {spec["kind"] for spec in objectives}
    for line in lines:
        # The total is what the per-dim losses say it is.
        expected = 0.0
        for spec in objectives:
            row = line["per_dim"][spec["kind"]]
            assert list(row) == ["4", "8", "16", "32"]
            each = list(row.values())
            expected += spec.get("weight", 1.0) * (sum(each) + (2 * each[-1] if spec["kind"] == "distill" else 0))
        assert line["loss"] == pytest.approx(expected, rel=1e-5)
    assert lines[-1]["loss"] < lines[0]["loss"]
    stored = json.loads((run.folder / "environment.json").read_text())
    assert stored["threads"] == torch.get_num_threads()
    assert stored["precision"] == "float32"
    model = SentenceTransformer(str(run.model), device="cpu")
    assert model.max_seq_length == 64
    assert model.config.matryoshka_dimensions == [4, 8, 16, 32]
    assert "tiny" in (run.model / "README.md").read_text()


def test_the_same_seed_gives_the_same_bits_and_another_does_not(write_recipe: Write, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(write_recipe(seed=seed), out=tmp_path / name)
    assert _same(tmp_path / "a", tmp_path / "b")
    assert not _same(tmp_path / "a", tmp_path / "c")


def test_gradient_caching_trains_the_same_model(write_recipe: Write, tmp_path: Path) -> None:
    objectives = [{"kind": "info_nce"}, DISTILL]
    for name, cached in (("kept", False), ("cached", True)):
        batch = {"size": 16, "max_length": 24, "chunk": 5, "gradient_caching": cached}
        train(write_recipe(batch=batch, objectives=objectives), out=tmp_path / name)
    assert _same(tmp_path / "kept", tmp_path / "cached")


def test_passes_cut_by_tokens_train_the_same_model(
    write_recipe: Write, still: Callable[[Path, Path], Path], tiny_model: Path, tmp_path: Path
) -> None:
    base = {"model": str(still(tiny_model, tmp_path / "still"))}
    cuts = {"whole": {}, "tokens": {"tokens": 100}, "cached": {"tokens": 100, "gradient_caching": True}}
    runs = {
        name: train(write_recipe(base=base, batch={"size": 16, "max_length": 24, **cut}), out=tmp_path / name).folder
        for name, cut in cuts.items()
    }
    whole = _weights(runs["whole"])
    for name in ("tokens", "cached"):
        found = _weights(runs[name])
        for key, expected in whole.items():
            # AdamW's first steps are signs of gradients: where one is nearly 0, its rounding decides.
            torch.testing.assert_close(found[key], expected, rtol=0, atol=2e-4, msg=lambda m, k=key: f"{k}: {m}")
        for ours, theirs in zip(_metrics(runs[name]), _metrics(runs["whole"]), strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_accumulated_batches_are_one_step_each(write_recipe: Write, tmp_path: Path) -> None:
    def run(name: str, **batch: int) -> TrainedRun:
        sizes = {"size": 16, "max_length": 24} | batch
        return train(write_recipe(batch=sizes, stopping={"epochs": 1}), out=tmp_path / name)

    single, double = run("single"), run("double", accumulate=2)
    assert double.steps == math.ceil(single.steps / 2)
    # Before anything is learnt, the loss of a step is the mean of the losses of its batches.
    rates = {"learning_rate": 1e-30}
    still = train(
        write_recipe(batch={"size": 16, "max_length": 24}, stopping={"steps": 2}, optimizer=rates), out=tmp_path / "s"
    )
    both = train(
        write_recipe(batch={"size": 16, "max_length": 24, "accumulate": 2}, stopping={"steps": 1}, optimizer=rates),
        out=tmp_path / "b",
    )
    apart = [line["loss"] for line in _metrics(still.folder)]
    # Dropout is drawn by step and place: the same two batches draw what two steps would have drawn.
    assert _metrics(both.folder)[0]["loss"] == pytest.approx(sum(apart) / 2, rel=1e-5)


def test_hard_negatives_take_part(write_recipe: Write, rows_file: Path, tmp_path: Path) -> None:
    source = {"name": "rows", "file": str(rows_file), "kind": "triplets", "columns": {"negatives": ["negative"]}}
    run = train(write_recipe(data=[source], stopping={"steps": 2}), out=tmp_path / "run")
    # An untrained model spreads its guess over 16 positives and 16 negatives.
    first = _metrics(run.folder)[0]["per_dim"]["info_nce"]["4"]
    assert math.log(16) < first < 3 * math.log(32)


def test_low_rank_training_ends_in_a_plain_model(write_recipe: Write, tmp_path: Path, tiny_model: Path) -> None:
    run = train(write_recipe(lora={"rank": 4}), out=tmp_path / "run")
    after, before = _weights(run.folder), load_file(tiny_model / "model.safetensors")
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith("encoder.layer") and name.endswith("weight") for name in changed)


def test_distillation_leaves_a_perfect_student_alone(write_recipe: Write, tmp_path: Path) -> None:
    """At full width the untrained student is its own teacher: the loss there is 0 when nothing is dropped out."""
    folder = _without_dropout(load_recipe(write_recipe()).base.model, tmp_path / "still")
    recipe = write_recipe(base={"model": str(folder)}, dims=[32], objectives=[DISTILL], stopping={"steps": 1})
    run = train(recipe, out=tmp_path / "run")
    assert _metrics(run.folder)[0]["loss"] == pytest.approx(0, abs=1e-5)


def _without_dropout(model: str, to: Path) -> Path:
    shutil.copytree(model, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(
        json.dumps(config | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    )
    return to


@pytest.fixture
def scored_file(tmp_path: Path) -> Path:
    path = tmp_path / "scored.jsonl"
    rows = [
        {"sentence1": f"the {a} is here", "sentence2": f"a {b} is here", "score": float(a == b) + i / 100}
        for i, (a, b) in enumerate(
            (a, b) for a in ("cat", "dog", "man", "house") for b in ("cat", "dog", "man", "house")
        )
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _evaluation(scored: Path, rows: Path, **more: Any) -> dict[str, Any]:
    return {
        "every": 2,
        "data": [
            {"name": "scored", "file": str(scored), "kind": "sts"},
            {"name": "found", "file": str(rows), "kind": "pairs", "rows": 50},
        ],
    } | more


def test_evaluation_keeps_the_best_and_draws_no_randomness(
    write_recipe: Write, tmp_path: Path, scored_file: Path, rows_file: Path
) -> None:
    plain = train(write_recipe(), out=tmp_path / "plain")
    run = train(write_recipe(evaluation=_evaluation(scored_file, rows_file)), out=tmp_path / "run")
    lines = _metrics(run.folder)
    scored = [line for line in lines if "evaluation" in line]
    assert [line["step"] for line in scored] == [0, 2, 4, 6, 8]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses == [line["loss"] for line in _metrics(plain.folder)]
    for line in scored:
        each = [list(line["evaluation"][name].values()) for name in ("scored", "found")]
        assert line["score"] == pytest.approx(np.mean(each))
    best = max(scored[1:], key=lambda line: line["score"])
    (kept_at,) = (run.folder / "best").iterdir()
    assert json.loads((kept_at / "state.json").read_text())["step"] == best["step"]
    again = MatryoshkaEncoder(run.model, device="cpu")
    kept = load_file(kept_at / "weights.safetensors")
    assert all(torch.equal(again.state_dict()[name.removeprefix("encoder.")], kept[name]) for name in kept)


def test_patience_stops_a_run_that_gets_no_better(
    write_recipe: Write, tmp_path: Path, scored_file: Path, rows_file: Path
) -> None:
    recipe = write_recipe(
        evaluation=_evaluation(scored_file, rows_file, every=1),
        stopping={"steps": 40, "patience": 2},
        optimizer={"learning_rate": 1e-9},  # nothing gets better
    )
    run = train(recipe, out=tmp_path / "run")
    assert "stopped early: 2 evaluations" in run.summary
    assert _metrics(run.folder)[-1]["step"] < 40


def test_a_run_that_had_stopped_takes_no_step_more_when_its_model_was_not_written(
    write_recipe: Write, tmp_path: Path, scored_file: Path, rows_file: Path
) -> None:
    recipe = write_recipe(
        evaluation=_evaluation(scored_file, rows_file, every=1),
        stopping={"steps": 40, "patience": 1},
        optimizer={"learning_rate": 1e-9},
    )
    run = train(recipe, out=tmp_path / "run")
    lines, weights = (run.folder / "metrics.jsonl").read_text(), _weights(run.folder)
    shutil.rmtree(run.model)
    again = train(recipe, out=tmp_path / "run", resume=True)
    assert "stopped early: 1 evaluations" in again.summary
    assert (run.folder / "metrics.jsonl").read_text() == lines
    assert all(torch.equal(tensor, weights[name]) for name, tensor in _weights(again.folder).items())


def test_a_tracker_gets_the_losses(write_recipe: Write, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra 'quickstart' brings tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(write_recipe(trackers=["tensorboard"]), out=tmp_path / "run")
    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    values = [event.value for event in events.Scalars("info_nce/4")]
    np.testing.assert_allclose(values, [line["per_dim"]["info_nce"]["4"] for line in _metrics(run.folder)], rtol=1e-6)


def test_an_existing_run_is_not_written_over(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(stopping={"steps": 2})
    train(recipe, out=tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    with pytest.raises(RunError, match=r"holds a run already.*--resume.*--out DIR"):
        train(recipe, out=tmp_path / "run")
    assert "has ended already" in train(recipe, out=tmp_path / "run", resume=True).summary
    with pytest.raises(RunError, match=r"another recipe \(seed: 0 there, 7 here\)"):
        train(write_recipe(stopping={"steps": 2}, seed=7), out=tmp_path / "run", resume=True)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}


def test_a_folder_that_is_no_run_is_left_alone(write_recipe: Write, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match=r"thesis\.tex.*no run folder"):
        train(write_recipe(), out=tmp_path / "mine", resume=True)


def test_changed_data_end_a_resume(write_recipe: Write, tmp_path: Path, rows_file: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_bytes(rows_file.read_bytes())
    recipe = write_recipe(data=[{"name": "rows", "file": str(own), "kind": "pairs"}])
    run = train(recipe, out=tmp_path / "run")
    (run.model / "modules.json").unlink()  # as if it had been killed before its end
    own.write_text("".join(own.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(RunError, match="other contents of data"):
        train(recipe, out=tmp_path / "run", resume=True)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe()
    there = set(tmp_path.rglob("*"))
    summary = train(recipe, out=tmp_path / "run", dry_run=True).summary
    assert "400 rows of rows; 25 batches of 16 an epoch" in summary
    assert set(tmp_path.rglob("*")) == there


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dims": [4, 64]}, RecipeError, r"dims\[1\]: found 64.*width 32"),
        ({"batch": {"size": 500}}, RecipeError, r"batch\.size: found 500; allowed: at most 400"),
        ({"base": {"model": "nobody/nothing"}}, MtextError, "Tried: "),
    ],
)
def test_what_cannot_be_run_leaves_nothing_behind(
    write_recipe: Write, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(write_recipe(**changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(
        optimizer={"learning_rate": 1e12, "weight_decay": 0, "schedule": "constant", "warmup": 0.9},
        checkpoints={"every": 1},
    )
    with pytest.raises(
        TrainingError, match=r"step \d+: .*pairs\.jsonl:\d+.*checkpoints written before are kept|step \d+: a weight"
    ):
        train(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    kept = list((tmp_path / "run" / "checkpoints").glob("*/weights.safetensors"))
    assert kept
    for weights in kept:
        assert all(bool(t.isfinite().all()) for t in load_file(weights).values())


def test_the_row_that_breaks_the_model_is_named(
    write_recipe: Write, tmp_path: Path, tiny_model: Path, rows_file: Path
) -> None:
    from transformers import AutoTokenizer

    # One word's vector is no number, and one row of the data has that word.
    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    word = AutoTokenizer.from_pretrained(broken).convert_tokens_to_ids("guitar")
    weights["embeddings.word_embeddings.weight"][word] = 3e38  # finite, but its length is not
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    lines = rows_file.read_text().splitlines()
    lines[123] = json.dumps({"anchor": "a guitar", "positive": "the guitar"})
    own = tmp_path / "own.jsonl"
    own.write_text("\n".join(lines) + "\n")
    recipe = write_recipe(
        base={"model": str(broken)}, data=[{"name": "rows", "file": str(own), "kind": "pairs"}], stopping={"epochs": 1}
    )
    with pytest.raises(
        TrainingError, match=r"step \d+: the loss is nan; rows of this batch to look at: \S*own\.jsonl:124\."
    ):
        train(recipe, out=tmp_path / "run")


def test_a_full_disk_is_found_before_the_first_step(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(RunError, match=r"the run \(two checkpoints and the model\) needs .* MB free; .*--out"):
        train(write_recipe(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": [{"kind": "distill", "teacher": "nobody/nothing"}]}, "nobody/nothing.*Tried"),
        ({"lora": {"target_modules": ["no_such_part"]}}, r"lora\.target_modules is .*no_such_part.*all-linear"),
        ({"lora": {"target_modules": ["LayerNorm"]}}, r"lora\.target_modules is .*LayerNorm"),
        (
            {"dims": [4, 16], "objectives": [DISTILL]},
            r"dims\[1\]: found 16, but distill anchors full width, which is 32",
        ),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_parts_that_cannot_be_built_leave_nothing_behind(
    write_recipe: Write, tmp_path: Path, changes: dict[str, Any], message: str, dry_run: bool
) -> None:
    with pytest.raises(MtextError, match=message):
        train(write_recipe(**changes), out=tmp_path / "run", dry_run=dry_run)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("left", [["recipe.yaml"], ["recipe.yaml", "environment.json"], []])
def test_a_kill_between_the_first_records_costs_nothing(write_recipe: Write, tmp_path: Path, left: list[str]) -> None:
    recipe = write_recipe(stopping={"steps": 2})
    whole = train(recipe, out=tmp_path / "whole")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / ".lock").touch()
    (broken / ".environment.json.x.part").touch()
    for name in left:
        (broken / name).write_bytes((whole.folder / name).read_bytes())
    train(recipe, out=broken, resume=True)
    assert _same(whole.folder, broken)
    assert not list(broken.glob(".*.part"))


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "optimizer.safetensors"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(
    write_recipe: Write, tmp_path: Path, name: str
) -> None:
    recipe = write_recipe()
    run = train(recipe, out=tmp_path / "run")
    shutil.copytree(run.folder, tmp_path / "whole")
    shutil.rmtree(run.model)
    newest = sorted((run.folder / "checkpoints").iterdir())[-1]
    (newest / name).write_bytes(b"{broken")
    said = rf"{newest.name}/{name}: (is damaged|cannot be read) .*resume again, from the checkpoint before"
    with pytest.raises(RunError, match=said):
        train(recipe, out=run.folder, resume=True)
    shutil.rmtree(newest)
    train(recipe, out=run.folder, resume=True)
    assert _same(tmp_path / "whole", run.folder)


def test_an_unreadable_environment_is_named(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(stopping={"steps": 1})
    run = train(recipe, out=tmp_path / "run")
    (run.model / "modules.json").unlink()
    (run.folder / "environment.json").write_text("")
    with pytest.raises(RunError, match=r"environment\.json: cannot be read"):
        train(recipe, out=run.folder, resume=True)


def test_another_teacher_ends_a_resume(write_recipe: Write, tmp_path: Path, tiny_model: Path) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(tiny_model, teacher)
    recipe = write_recipe(objectives=[{**DISTILL, "teacher": str(teacher)}])
    run = train(recipe, out=tmp_path / "run")
    shutil.rmtree(run.model)
    weights = load_file(teacher / "model.safetensors")
    save_file({k: v * 1.5 for k, v in weights.items()}, teacher / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match="other contents of model: teacher"):
        train(recipe, out=run.folder, resume=True)


def test_no_other_recipe_comes_between_the_look_and_the_lock(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one run reads its inputs, another recipe cannot begin in its folder, nor go on in it after it has ended."""
    from matryoshka_text.training import job

    recipe, other = write_recipe(stopping={"steps": 2}), write_recipe("other.yaml", seed=7, stopping={"steps": 2})
    known = job.read_inputs

    def read_inputs(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(job, "read_inputs", known)
        with pytest.raises(RunError, match="another process is training here"):
            train(other, out=tmp_path / "run")
        return known(*given, **named)

    monkeypatch.setattr(job, "read_inputs", read_inputs)
    run = train(recipe, out=tmp_path / "run")
    assert load_recipe(run.folder / "recipe.yaml").seed == 0
    with pytest.raises(RunError, match="is the run of another recipe"):
        train(other, out=tmp_path / "run", resume=True)


def test_a_run_that_cannot_begin_leaves_no_folder(write_recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(MtextError):
        train(write_recipe(dims=[4, 64]), out=tmp_path / "runs" / "run")
    assert not (tmp_path / "runs").exists()


def test_what_only_the_base_shows_is_told_with_recipe_and_line(write_recipe: Write, tmp_path: Path) -> None:
    path = write_recipe(dims=[4, 64], batch={"size": 4000, "max_length": 24})
    with pytest.raises(RecipeError) as told:
        train(path, out=tmp_path / "run", dry_run=True)
    lines = path.read_text().splitlines()
    dims, size = lines.index("- 64") + 1, lines.index("  size: 4000") + 1
    first, second = str(told.value).splitlines()
    assert first.startswith(f"{path}:{dims}: dims[1]: found 64, and ")
    assert second.startswith(f"{path}:{size}: batch.size: found 4000; allowed: at most 400")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "lower optimizer.learning_rate, or raise the temperature"),
        (
            {"weights": [1, 1, 1, 1e11], "objectives": [{"kind": "info_nce", "weight": 1e9}]},
            "lower objectives[0].weight, which is 1e+09, and weights[3], which is 1e+11",
        ),
    ],
)
def test_the_advice_names_the_settings_that_are_far_from_what_works(
    write_recipe: Write, changes: dict[str, Any], said: str
) -> None:
    assert advice(load_recipe(write_recipe(**changes))) == said


def test_a_run_whose_folder_is_removed_is_no_success(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Loop.step

    def step(self: Loop, number: int, *given: Any) -> Any:
        if number == 2:
            shutil.rmtree(tmp_path / "run")
        return known(self, number, *given)

    monkeypatch.setattr(Loop, "step", step)
    with pytest.raises(RunError, match=r"metrics\.jsonl: was removed or replaced while the run wrote to it"):
        train(write_recipe(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change",
    [{"step": 99}, {"best_step": 99}, {"averaged": 1}, {"stopped": True}, {"metrics_bytes": 0}, {"without_better": 9}],
)
def test_a_checkpoint_beyond_the_run_is_refused(write_recipe: Write, tmp_path: Path, change: dict[str, int]) -> None:
    recipe = write_recipe(stopping={"steps": 3})
    run = train(recipe, out=tmp_path / "run").folder
    shutil.rmtree(run / "model")
    state = next((run / "checkpoints").glob("*/state.json"))
    state.write_text(json.dumps(json.loads(state.read_text()) | change))
    if "step" in change:
        state.parent.rename(state.parent.with_name("step-00000099"))
    said = rf"state\.json: found .*{next(iter(change))} .*, which this run of 3 steps does not come to"
    with pytest.raises(RunError, match=said):
        train(recipe, out=run, resume=True)
