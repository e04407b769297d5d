"""Masked-language modelling as a task: which dims, which rows, and what fails without stopping the rest."""

import gzip
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from matryoshka_text.errors import DataError, EvaluationError
from matryoshka_text.evaluation import evaluate
from matryoshka_text.evaluation.plan import plan_evaluation
from matryoshka_text.rows import read_rows
from matryoshka_text.suite import Suite, TaskEntry

TEXT = TaskEntry(masked_text="words.txt.gz", name="words", share=0.3, max_length=40, seed=5)
SUITE = Suite(name="masked", tasks=(TEXT,))


def run(model: Path, root: Path, out: Path, suite: Suite = SUITE, **settings: Any) -> Any:
    return evaluate(model, suite, data_root=root, out=out, device="cpu", **settings)


def test_the_suites_settings_reach_the_model(
    small_text: Path, tiny_model: Path, tmp_path: Path, fake_masked_lm: Callable[..., Any]
) -> None:
    opened = fake_masked_lm()
    run(tiny_model, small_text, tmp_path / "out", dims=(8, 16), batch_size=4)
    (call,) = next(iter(opened.values())).calls
    texts = gzip.decompress((small_text / "words.txt.gz").read_bytes()).decode().split("\n")[:40]
    expected = {"texts": texts, "dims": [8, 16, 32], "max_length": 40, "share": 0.3, "seed": 5, "batch_size": 4}
    assert call == expected


def test_rows_tables_and_files(
    small_text: Path, tiny_model: Path, tmp_path: Path, fake_masked_lm: Callable[..., Any]
) -> None:
    fake_masked_lm()
    found = run(tiny_model, small_text, tmp_path / "out", dims=(8, 16))
    assert read_rows(tmp_path / "out/rows.jsonl") == list(found.rows)
    row = found.rows[0]
    assert (row.task, row.type, row.metric, row.split) == ("words", "MaskedText", "masked_accuracy", "test")
    assert (row.dim, row.width, row.bytes_per_vector, row.normalize) == (8, 32, 32, False)
    assert row.score == found.score("words", 8) == 8
    assert row.further == {"perplexity": 2**3.75, "loss": 3.75, "masked_tokens": 1500}
    accuracy, perplexity = found.tables()
    assert (accuracy.title, accuracy.share(16)) == ("words", 50)
    assert accuracy.note == "masked_accuracy x 100, 30% masked: 1,500 tokens"
    assert (perplexity.title, perplexity.note) == ("words, perplexity", "perplexity, less is better")
    assert perplexity.scores == ({8: 2**3.75, 16: 2**3.5, 32: 8},)
    names = {"curve.png", "curve.svg", "report.html", "results.md", "rows.jsonl", "table.txt"}
    assert {one.name for one in (tmp_path / "out").iterdir() if one.name[0] != "."} == names
    page = (tmp_path / "out/results.md").read_text()
    assert "| dim | bytes a vector | perplexity |\n| ---: | ---: | ---: |\n| 8 | 32 | 13.45 |" in page
    assert "length 1" not in page


def test_dims_end_at_the_vocabulary_matrix(
    small_text: Path, tiny_model: Path, tmp_path: Path, fake_masked_lm: Callable[..., Any]
) -> None:
    fake_masked_lm(width=24)
    found = run(tiny_model, small_text, tmp_path / "out", dims=(8, 16))
    assert [(row.dim, row.width) for row in found.rows] == [(8, 24), (16, 24), (24, 24)]
    assert found.tables()[0].share(8) == pytest.approx(100 / 3)
    assert str(found.stages[0]).endswith("; dims up to 24, the width of its decoder")


def test_other_masking_is_other_data(small_text: Path) -> None:
    entries = [
        TaskEntry(masked_text="words.txt.gz", name=f"t{place}", **changes)
        for place, changes in enumerate(({}, {"seed": 1}, {"share": 0.2}, {"max_length": 64}))
    ]
    planned = plan_evaluation(None, Suite(name="x", tasks=tuple(entries)), data_root=small_text)
    assert len({task.data for task in planned.tasks}) == 4


def test_other_tokenizers_are_said(
    small_text: Path, tiny_model: Path, other_model: Path, tmp_path: Path, fake_masked_lm: Callable[..., Any]
) -> None:
    fake_masked_lm(tokens=(1500, 1400))
    found = run(tiny_model, small_text, tmp_path / "out", dims=(8,), against=[other_model])
    label = found.plan.subjects[1].label
    assert found.tables()[0].note.endswith(f": 1,500 tokens (by another tokenizer: {label} 1,400)")


def test_a_model_without_a_head_does_not_stop_the_others(
    small_text: Path, family: Callable[[str], Path], tiny_model: Path, tmp_path: Path
) -> None:
    found = run(tiny_model, small_text, tmp_path / "out", dims=(8,), against=[family("bert")], partial=True)
    assert {row.model for row in found.rows} == {found.plan.subjects[1].name}
    with pytest.raises(EvaluationError) as caught:
        found.require_success()
    last = str(caught.value).splitlines()[-1]
    assert last.startswith(f"  words · {found.plan.subjects[0].label}: ") and "heads/mlm" in last


def test_real_scores_are_those_of_the_model_itself(
    small_text: Path, family: Callable[[str], Path], tmp_path: Path
) -> None:
    from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM
    from matryoshka_text.reading import read_texts

    found = run(family("bert"), small_text, tmp_path / "out", dims=(8, 16))
    texts = read_texts(small_text / "words.txt.gz")
    model = MatryoshkaMaskedLM(family("bert"), device="cpu")
    direct = model.scores(texts, (8, 16, 32), max_length=40, share=0.3, seed=5)
    assert [row.score for row in found.rows] == pytest.approx(direct.accuracy)
    assert [row.further["perplexity"] for row in found.rows] == pytest.approx([math.exp(x) for x in direct.loss])
    assert [row.further["masked_tokens"] for row in found.rows] == [direct.tokens] * 3


def test_a_narrow_vocabulary_bounds_the_dims(small_text: Path, family: Callable[[str], Path], tmp_path: Path) -> None:
    found = run(family("electra"), small_text, tmp_path / "out")
    assert [(row.dim, row.width) for row in found.rows] == [(8, 16), (16, 16)]
    assert "dims up to 16" in found.stages[0].note
    assert found.tables()[0].note.endswith("; electra0 up to 16 dims")


def test_all_missing_data_are_listed_before_any_model_runs(small_text: Path, tiny_model: Path, tmp_path: Path) -> None:
    suite = Suite(name="x", tasks=(TEXT, TaskEntry(masked_text="none.txt"), TaskEntry(masked_text="a/b.txt.gz")))
    with pytest.raises(DataError) as caught:
        run(tiny_model, small_text, tmp_path / "out", suite)
    lines = str(caught.value).splitlines()
    assert lines[0] == "suite x: 2 of 3 tasks have no data, so nothing was run."
    assert lines[1:3] == [f"  none: no such file: {small_text}/none.txt", f"  b: no such file: {small_text}/a/b.txt.gz"]
    assert "that holds words.txt.gz and none.txt and a/b.txt.gz with --data-root" in lines[3]
    with pytest.raises(DataError, match="words: a masked_text needs a data root"):
        plan_evaluation(None, SUITE)
    (small_text / "empty.txt").write_text("\n\n")
    empty = Suite(name="x", tasks=(TEXT, TaskEntry(masked_text="empty.txt")))
    with pytest.raises(DataError, match=r"nothing was encoded, .*\n  .*/empty\.txt: found no rows"):
        run(tiny_model, small_text, tmp_path / "out", empty)


def test_a_text_beside_the_suite(small_text: Path) -> None:
    suite = Suite(name="x", tasks=(TaskEntry(masked_text="./words.txt.gz"),), folder=small_text)
    assert plan_evaluation(None, suite).tasks[0].file == small_text / "words.txt.gz"


def test_without_a_task_of_mteb_it_is_not_needed(
    small_text: Path, family: Callable[[str], Path], tmp_path: Path
) -> None:
    code = f"""
import sys
sys.modules["mteb"] = None
from matryoshka_text.evaluation import evaluate
from matryoshka_text.suite import Suite, TaskEntry
suite = Suite(name="x", tasks=(TaskEntry(masked_text="words.txt.gz"),))
root, out = {str(small_text)!r}, {str(tmp_path / "out")!r}
found = evaluate({str(family("bert"))!r}, suite, data_root=root, out=out, device="cpu")
found.require_success()
print(len(found.rows))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


def test_a_loss_that_is_no_number(
    small_text: Path, tiny_model: Path, tmp_path: Path, fake_masked_lm: Callable[..., Any]
) -> None:
    fake_masked_lm(loss=math.nan)
    found = run(tiny_model, small_text, tmp_path / "out", partial=True)
    assert not found.rows
    assert found.failures[0].reason == "words: the loss at 8 dims is nan; the model's weights are damaged"


def test_a_masked_text_beside_tasks_of_mteb(
    family: Callable[[str], Path], small_data: Path, small_text: Path, tmp_path: Path
) -> None:
    entries = (TaskEntry(task="STSBenchmark"), TaskEntry(masked_text=str(small_text / "words.txt.gz")))
    both = Suite(name="x", tasks=entries)
    found = evaluate(family("bert"), both, data_root=small_data, out=tmp_path / "out", device="cpu", dims=(8,))
    found.require_success()
    assert [table.title for table in found.tables()] == ["STSBenchmark", "words", "words, perplexity", "Mean"]
    assert "prefixes brought back to length 1" in (tmp_path / "out/results.md").read_text()
