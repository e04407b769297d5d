"""The deep check: what is wrong with a recipe before it is run, schema, data and models together."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from matryoshka_text.build.check import inspect_recipe

Check = Callable[..., list[str]]

RECIPE = """\
name: r
base: {{model: {model}}}
dims: [4, 32]
data:
  - {{name: one, file: one.jsonl, kind: pairs}}
objectives: [{{kind: info_nce}}]
batch: {{size: 4}}
stopping: {{steps: 2}}
evaluation: {{every: 1, data: [{{name: sts, file: sts.csv, kind: sts}}]}}
"""


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    rows = [{"anchor": f"anchor {i}", "positive": f"positive {i}"} for i in range(8)]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sts.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,2\n")
    (tmp_path / "r.yaml").write_text(RECIPE.format(model=tiny_model))
    return tmp_path


@pytest.fixture
def check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """The problems of the recipe after replacements, places relative to its folder."""
    monkeypatch.chdir(folder)

    def problems(*changes: tuple[str, str]) -> list[str]:
        path = Path("r.yaml")
        text = path.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)
        return inspect_recipe(path).problems

    return problems


def test_a_recipe_that_can_be_run(check: Check) -> None:
    assert check() == []
    assert inspect_recipe(Path("r.yaml")).notes == []


def test_missing_files_and_columns_get_the_line_of_their_key(check: Check, folder: Path) -> None:
    assert check(("one.jsonl", "two.jsonl"), ("sts.csv, kind: sts", "sts.csv, kind: sts, columns: {score: gold}")) == [
        "r.yaml:5: data[0].file: found no file two.jsonl; allowed: an existing file (relative to the recipe's folder); "
        "in . there are one.jsonl",
        "r.yaml:9: evaluation.data[0].columns.score: found no column 'gold' in sts.csv; allowed: sentence1, sentence2, "
        "score; name the column that holds the score",
    ]


def test_wrong_rows_keep_their_own_place(check: Check, folder: Path) -> None:
    with (folder / "one.jsonl").open("a") as file:
        file.write('{"anchor": "", "positive": "x"}\n')
    assert check() == [
        "one.jsonl:9: anchor (column 'anchor'): found an empty text; allowed: a text that is not blank; "
        "fill the cell, or delete the row"
    ]


def test_a_batch_larger_than_the_data(check: Check) -> None:
    assert check(("size: 4", "size: 9")) == [
        "r.yaml:7: batch.size: found 9; allowed: at most 8, the rows of the data; use a smaller batch"
    ]


def test_a_batch_that_repeated_texts_make_impossible(check: Check, folder: Path) -> None:
    (folder / "one.jsonl").write_text('{"anchor": "same", "positive": "also same"}\n' * 8)
    (problem,) = check()
    assert problem.startswith("r.yaml:7: batch.size")
    assert "without a repeated text" in problem


def test_dims_above_the_width(check: Check, tiny_model: Path) -> None:
    assert check(("dims: [4, 32]", "dims: [4, 33, 48]")) == [
        f"r.yaml:3: dims[{index}]: found {dim}, and {tiny_model} gives vectors of width 32; allowed: at most 32; "
        "use smaller dims, or another base"
        for index, dim in ((1, 33), (2, 48))
    ]


def test_the_rest_is_looked_into_where_the_schema_has_faults(check: Check) -> None:
    found = check(
        ("name: r", "nam: r"), ("dims: [4, 32]", "dims: [4, 64, 48]"), ("one.jsonl", "none.jsonl"), ("every: 1,", "")
    )
    keys = [line.split(": ")[1] for line in found]
    assert keys == ["name", "nam", "dims[2]", "evaluation.every", "data[0].file", "dims[1]", "dims[2]"]


def test_one_wrong_source_does_not_hide_another(check: Check) -> None:
    found = check(
        ("kind: pairs}", "kind: pair}\n  - {name: two, file: none.csv, kind: pairs}\n  - {name: two, file: one.jsonl}")
    )
    keys = [line.split(": ")[1] for line in found]
    assert keys == ["data[0].kind", "data[2].kind", "data[2].name", "data[1].file"]


def test_sources_with_different_numbers_of_negatives(check: Check, folder: Path) -> None:
    (folder / "two.csv").write_text("anchor,positive,negative\na,b,c\n")
    (problem,) = check(("kind: pairs}", "kind: pairs}\n  - {name: two, file: two.csv, kind: triplets}"))
    assert problem.startswith("r.yaml:6: data[1]: 'two' gives 1 hard negatives a row, data[0] ('one') gives 0; ")


def test_models_that_cannot_be_used_are_problems(check: Check, folder: Path, tiny_model: Path) -> None:
    (folder / "empty").mkdir()
    (problem,) = check((str(tiny_model), "./none"))
    assert problem.startswith("r.yaml:2: base.model: found './none': ")
    (problem,) = check(("./none", "empty"))
    assert problem.startswith("r.yaml:2: base.model: found 'empty': ")
    (folder / "empty" / "config.json").write_text('{"model_type": "gpt2"}')
    (problem,) = check()
    assert "no BERT-family text encoder" in problem
    (problem,) = check(("model: empty", f"model: {tiny_model}"), ("kind: info_nce", "kind: distill, teacher: ./none"))
    assert problem.startswith("r.yaml:6: objectives[0].teacher: found './none': ")


def test_what_lies_on_the_hub_is_noted_and_no_problem(
    check: Check, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = (("file: one.jsonl", "hub: owner/name"), (str(tiny_model), "owner/no-such-model"))
    assert check(*hub) == []
    offline = inspect_recipe(Path("r.yaml")).notes
    assert offline[0].startswith("r.yaml:5: data[0]: note: owner/name is not in the datasets cache")
    assert offline[1].startswith("r.yaml:2: base.model: note: owner/no-such-model is not on this machine")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    online = inspect_recipe(Path("r.yaml")).notes
    assert online[0].startswith("r.yaml:5: data[0]: note: owner/name is not looked at, nothing is fetched")


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    (problem,) = inspect_recipe(tmp_path / "none.yaml").problems
    assert "found no such file" in problem


def test_distillation_needs_the_full_width_among_the_dims(check: Check) -> None:
    (problem,) = check(("dims: [4, 32]", "dims: [4, 16]"), ("kind: info_nce", "kind: distill"))
    assert problem.startswith("r.yaml:3: dims[1]: found 16, but distill anchors full width, which is 32")


def test_a_model_with_its_own_pooling_takes_no_other(check: Check) -> None:
    (problem,) = check(("base: {model:", "base: {pooling: cls, model:"))
    assert problem.startswith("r.yaml:2: base.pooling: found cls, but")


def test_a_model_without_weights_is_found_out(check: Check, folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "empty" / "config.json").write_text('{"model_type": "bert", "hidden_size": 32}')
    text = (folder / "r.yaml").read_text()
    (folder / "r.yaml").write_text(text.replace(text.split("model: ")[1].split("}")[0], "./empty"))
    (problem,) = check()
    assert "holds no *.safetensors weights" in problem


def test_a_kind_that_is_no_word_is_told_and_not_looked_up(check: Check) -> None:
    (problem,) = check(("kind: pairs", "kind: [[]]"))
    assert problem.startswith("r.yaml:5: data[0].kind: found [[]]; allowed: pairs, ")
