"""A run's twins: found, named, scored where they count, and set beside the model."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from matryoshka_text.errors import ModelError
from matryoshka_text.evaluation import evaluate
from matryoshka_text.evaluation.plan import plan_evaluation
from matryoshka_text.fingerprint import weights_hash
from matryoshka_text.suite import Suite, TaskEntry

STS = Suite(name="x", tasks=(TaskEntry(task="STSBenchmark"),))


def test_the_twins_of_a_run(
    run_with_twins: Callable[..., Path], tiny_model: Path, other_model: Path, small_data: Path
) -> None:
    run = run_with_twins(tiny_model, ("ff-16", "plain", "ff-8"))
    (run / "twins/notes").mkdir()
    planned = plan_evaluation(run, STS, data_root=small_data, against=[other_model], twins=True)
    assert [(one.name, one.label, one.only) for one in planned.subjects[2:]] == [
        ("local/first-1a2b-plain", "plain", None),
        ("local/first-1a2b-ff-8", "FF-8", 8),
        ("local/first-1a2b-ff-16", "FF-16", 16),
    ]
    assert [one.label for one in planned.columns] == ["first-1a2b", other_model.parent.name, "plain", "FF"]
    assert [planned.dims_of(one) for one in planned.subjects[2:]] == [(8, 16, 32), (8,), (16,)]
    assert planned.subjects[3].weights == weights_hash(run / "twins/ff-8/model")
    assert plan_evaluation(run / "model", STS, data_root=small_data, twins=True).subjects[1:] == planned.subjects[2:]


def test_a_twin_of_a_dim_that_is_not_asked_for_is_left_out(
    run_with_twins: Callable[..., Path], tiny_model: Path, small_data: Path
) -> None:
    planned = plan_evaluation(run_with_twins(tiny_model), STS, data_root=small_data, dims=(4, 16), twins=True)
    assert [one.label for one in planned.subjects] == ["first-1a2b", "plain", "FF-16"]


def test_scores_are_those_of_each_twin_alone(
    run_with_twins: Callable[..., Path], tiny_model: Path, small_data: Path, tmp_path: Path
) -> None:
    run = run_with_twins(tiny_model)
    found = evaluate(run, STS, data_root=small_data, out=tmp_path / "out", device="cpu", twins=True)
    (table,) = found.tables()
    assert table.labels == ("first-1a2b", "plain", "FF")
    alone = {
        name: evaluate(run / "twins" / name, STS, data_root=small_data, out=tmp_path / name, device="cpu")
        for name in ("plain", "ff-8", "ff-16")
    }
    assert table.scores[1] == {dim: alone["plain"].score("STSBenchmark", dim) for dim in (8, 16, 32)}
    assert table.scores[2] == {dim: alone[f"ff-{dim}"].score("STSBenchmark", dim) for dim in (8, 16)}
    assert table.difference(8, 2) == pytest.approx(found.score("STSBenchmark", 8) - table.scores[2][8])
    assert table.difference(32, 2) is None
    assert found.score("STSBenchmark", 16, model="FF") == table.scores[2][16]
    # An FF model is scored at its own dim alone, and its rows are its own.
    assert [(row.model, row.dim) for row in found.rows if "ff" in row.model] == [
        ("local/first-1a2b-ff-8", 8),
        ("local/first-1a2b-ff-16", 16),
    ]
    page = (tmp_path / "out/results.md").read_text()
    assert "| dim | bytes a vector | score | share of full width | plain | difference | FF | difference |" in page
    assert "FF is at each dim the model trained at that dim only" in page
    assert "* FF-8: local/first-1a2b-ff-8, folder, weights sha256 " in page


def test_a_twin_with_the_weights_of_another_keeps_its_place(
    run_with_twins: Callable[..., Path], tiny_model: Path, small_data: Path, tmp_path: Path
) -> None:
    """Trained at full width alone, FF is the plain twin."""
    run = run_with_twins(tiny_model, ("plain",))
    shutil.copytree(run / "twins/plain", run / "twins/ff-32")
    found = evaluate(run, STS, data_root=small_data, out=tmp_path / "out", device="cpu", dims=(8,), twins=True)
    plain, alone = found.tables()[0].scores[1:]
    assert alone == {32: plain[32]}


def test_masked_text_has_twins_too(
    run_with_twins: Callable[..., Path], family: Callable[[str], Path], small_text: Path, tmp_path: Path
) -> None:
    suite = Suite(name="x", tasks=(TaskEntry(masked_text="words.txt.gz"),))
    run = run_with_twins(family("bert"))
    found = evaluate(run, suite, data_root=small_text, out=tmp_path / "out", device="cpu", twins=True)
    found.require_success()
    accuracy, perplexity = found.tables()
    for table in (accuracy, perplexity):
        assert [sorted(scores) for scores in table.scores] == [[8, 16, 32], [8, 16, 32], [8, 16]]
    assert perplexity.scores[2][8] != perplexity.scores[1][8]


def _no_twins(run: Path) -> Path:
    shutil.rmtree(run / "twins")
    return run


def _no_run(run: Path) -> Path:
    return Path(shutil.move(run / "model", run / "saved"))


def _nothing_known(run: Path) -> Path:
    shutil.rmtree(run / "twins")
    (run / "twins/ff-some").mkdir(parents=True)
    return run


def _unfinished(run: Path) -> Path:
    shutil.rmtree(run / "twins/ff-8/model")
    return run


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_no_twins, r"model: has no twins, there is no folder .*first-1a2b/twins; put `twins: \[ff, plain\]`"),
        (_no_run, r"saved: has no twins, its folder is no <run>/model; put"),
        (_nothing_known, r"twins: holds neither plain nor ff-<dim>; put"),
        (_unfinished, r"twins: ff-8 has no model/, so its training did not end; train on with --resume, or remove it"),
    ],
)
def test_what_is_no_twin(
    run_with_twins: Callable[..., Path],
    tiny_model: Path,
    small_data: Path,
    spoil: Callable[[Path], Path],
    said: str,
) -> None:
    run = spoil(run_with_twins(tiny_model))
    with pytest.raises(ModelError, match=said):
        plan_evaluation(run, STS, data_root=small_data, twins=True)


def test_twins_of_no_model(small_data: Path) -> None:
    with pytest.raises(ModelError, match="--twins: no model given"):
        plan_evaluation(None, STS, data_root=small_data, twins=True)
