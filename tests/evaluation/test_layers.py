"""The first layers alone: other vectors, other places, other rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from matryoshka_text.errors import ModelError
from matryoshka_text.evaluation import evaluate
from matryoshka_text.evaluation.plan import plan_evaluation
from matryoshka_text.rows import latest_rows, read_rows
from matryoshka_text.suite import Suite, TaskEntry

STS = Suite(name="x", tasks=(TaskEntry(task="STSBenchmark"),))


def test_scores_are_those_of_the_shallower_model(
    family: Callable[[str], Path], small_data: Path, tmp_path: Path, encoded: list[str]
) -> None:
    from matryoshka_text.encoder import MatryoshkaEncoder

    model = family("bert")
    MatryoshkaEncoder(model, device="cpu").truncated(layers=2).save(str(tmp_path / "small"))
    encoded.clear()  # the model card's examples

    def run(model: Path, layers: int | None = None) -> list[float]:
        found = evaluate(model, STS, data_root=small_data, out=tmp_path / "out", device="cpu", dims=(8,), layers=layers)
        found.require_success()
        assert {row.layers for row in found.rows} == {layers}
        return [row.score for row in found.rows]

    whole, first = run(model), run(model, 2)
    assert len(encoded) == 120  # 60 sentences, and none of the two depths served the other
    assert first == pytest.approx(run(tmp_path / "small"))
    assert not np.allclose(whole, first)
    assert run(model, 2) == first and run(model) == whole
    assert len(latest_rows(read_rows(tmp_path / "out/rows.jsonl"))) == 6
    folders = {one.parent.name for one in (tmp_path / "out/results").rglob("STSBenchmark.json")}
    # A bare checkpoint gives vectors of any length, so that normalising its full width makes another result.
    assert {"layers_2__normalize_True", "embed_dim_8__layers_2__normalize_True"} <= folders
    assert {"normalize_True", "embed_dim_8__normalize_True"} <= folders


def test_every_model_and_twin_is_cut_alike(
    run_with_twins: Callable[..., Path], family: Callable[[str], Path], tiny_model: Path, small_data: Path
) -> None:
    planned = plan_evaluation(
        run_with_twins(family("bert")), STS, data_root=small_data, against=[tiny_model], twins=True, layers=1
    )
    assert {one.layers for one in planned.subjects} == {1}
    assert [one.label for one in planned.columns][::2] == ["first-1a2b-layers-1", "plain"]
    assert planned.columns[3].label == "FF"


def test_all_layers_are_the_model_itself(tiny_model: Path, small_data: Path) -> None:
    asked = plan_evaluation(tiny_model, STS, data_root=small_data, layers=2)
    assert asked.subjects == plan_evaluation(tiny_model, STS, data_root=small_data).subjects


@pytest.mark.parametrize("layers", [0, 3])
def test_layers_that_are_not_there(tiny_model: Path, small_data: Path, layers: int) -> None:
    with pytest.raises(ModelError, match=rf"--layers: found {layers}, but .* has 2; allowed: 1 to 2"):
        plan_evaluation(tiny_model, STS, data_root=small_data, layers=layers)


def test_masked_text_is_read_at_the_first_layers_too(
    family: Callable[[str], Path], small_text: Path, tmp_path: Path
) -> None:
    from matryoshka_text.encoder.layers import first_layers
    from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM
    from matryoshka_text.reading import read_texts

    suite = Suite(name="x", tasks=(TaskEntry(masked_text="words.txt.gz"),))
    found = evaluate(family("bert"), suite, data_root=small_text, out=tmp_path / "out", device="cpu", layers=2)
    found.require_success()
    model = MatryoshkaMaskedLM(family("bert"), device="cpu")
    with first_layers(model.encoder, 2):
        direct = model.scores(read_texts(small_text / "words.txt.gz"), (8, 16, 32))
    assert [row.further["loss"] for row in found.rows] == pytest.approx(direct.loss)
    assert "its first 2 layers only" in (tmp_path / "out/results.md").read_text()
