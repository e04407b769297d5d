"""Data of every kind, looked into before a run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from matryoshka_text.build.check import inspect_recipe

Check = Callable[..., list[str]]
KEYS = {"pairs": "info_nce", "text": "mlm", "labelled": "classify", "scored": "cosent", "mined": "info_nce"}


@pytest.fixture
def check(tmp_path: Path, family: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Check:
    """The problems of a recipe with these sources, objectives and other keys, without file and line."""
    monkeypatch.chdir(tmp_path)

    def problems(*sources: dict[str, Any], objectives: list[Any], **more: Any) -> list[str]:
        data = [{"name": f"s{index}", **source} for index, source in enumerate(sources)]
        given = [one if isinstance(one, dict) else {"kind": one} for one in objectives]
        values = {"name": "r", "base": {"model": str(family("bert"))}, "dims": [4, 32], "data": data}
        values |= {"objectives": given, "batch": {"size": 4}, "stopping": {"steps": 2}, **more}
        Path("r.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        problems = inspect_recipe(Path("r.yaml")).problems
        return [line.partition(": ")[2] if line.startswith("r.yaml:") else line for line in problems]

    return problems


def lines(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def labelled(name: str, labels: list[Any]) -> dict[str, Any]:
    return {"file": lines(name, [{"text": f"t{i}", "label": x} for i, x in enumerate(labels)]), "kind": "labelled"}


def scored(name: str, scores: list[Any]) -> dict[str, Any]:
    rows = [{"sentence1": f"a{i}", "sentence2": f"b{i}", "score": score} for i, score in enumerate(scores)]
    return {"file": lines(name, rows), "kind": "scored"}


def plain(name: str, count: int, kind: str = "text") -> dict[str, Any]:
    Path(name).write_text("".join(f"text {i}\n" for i in range(count)))
    return {"file": name, "kind": kind}


def pairs(name: str, count: int) -> dict[str, Any]:
    rows = [{"anchor": f"{name}{i}", "positive": f"{name}p{i}"} for i in range(count)]
    return {"file": lines(name, rows), "kind": "pairs"}


def test_all_streams_together_can_be_run(check: Check) -> None:
    sources = (
        pairs("p.jsonl", 5),
        plain("m.txt", 5, "mined"),
        plain("t.txt", 2),
        labelled("l.jsonl", list("abab")),
        scored("s.jsonl", [0, 1, 2, 3]),
    )
    held_out = [
        {"name": "l", **labelled("h.jsonl", ["b"])},
        {"name": "t", **plain("h.txt", 2)},
    ]
    more = {"evaluation": {"every": 1, "data": held_out}}
    assert check(*sources, objectives=["info_nce", "mlm", "classify", "cosent"], **more) == []


def test_files_and_columns_of_the_new_kinds(check: Check) -> None:
    Path("x.jsonl").write_text('{"texts": "a"}\n')
    sources = (
        {"file": "none.txt", "kind": "text"},
        {"file": "x.jsonl", "kind": "labelled"},
        {"file": "x.jsonl", "kind": "mined"},
        {"file": "x.jsonl", "kind": "scored"},
    )
    found = check(*sources, objectives=["info_nce", "mlm", "classify", "cosent"])
    assert [line.split(":")[0] for line in found] == [
        "data[0].file",
        "data[1].columns.text",
        "data[1].columns.label",
        "data[2].columns.text",
        "data[3].columns.sentence1",
        "data[3].columns.sentence2",
        "data[3].columns.score",
    ]
    assert found[1] == ("data[1].columns.text: found no column 'text' in x.jsonl; allowed: texts; write `text: texts`")


def test_a_file_called_data_is_no_key_of_the_recipe(check: Check) -> None:
    source = labelled("data.jsonl", ["a", None])
    assert check(source, objectives=["classify"]) == [
        "data.jsonl:2: label (column 'label'): found null; allowed: a text or a whole number; "
        "fill the cell, or delete the row"
    ]


def test_batches_of_every_stream_against_its_rows(check: Check) -> None:
    sources = (pairs("p.jsonl", 5), labelled("l.jsonl", list("aab")), scored("s.jsonl", [1, 2]))
    objectives = ["info_nce", {"kind": "classify", "batch": 3}, {"kind": "cosent", "batch": 3}]
    assert check(*sources, objectives=objectives) == [
        "objectives[2].batch: found 3; allowed: at most 2, the rows of the scored data; use a smaller batch"
    ]
    assert check(*sources, objectives=["info_nce", "classify", "cosent"]) == [
        "batch.size: found 4; allowed: at most 3, the rows of the labelled data; use a smaller batch",
        "batch.size: found 4; allowed: at most 2, the rows of the scored data; use a smaller batch",
    ]
    by_source = {"batch": {"size": 4, "mixing": "by_source"}}
    assert check(
        labelled("a.jsonl", list("abc")), labelled("b.jsonl", list("abc")), objectives=["classify"], **by_source
    ) == [
        "batch.size: batch.size is 4, but the data make no batch of 4 rows of one source (6 rows in all); "
        "use a smaller batch.size, or more data"
    ]


def test_plain_text_counts_only_where_it_is_not_packed(check: Check) -> None:
    assert check(plain("t.txt", 2), objectives=["mlm"]) == []
    assert check(plain("t.txt", 2), objectives=[{"kind": "mlm", "packing": False}]) == [
        "batch.size: found 4; allowed: at most 2, the rows of the text data; use a smaller batch"
    ]


def test_mined_texts_give_at_most_so_many_pairs(check: Check) -> None:
    assert check(plain("m.txt", 2, "mined"), objectives=["info_nce"]) == [
        "batch.size: found 4; allowed: at most 2, the rows of the data; use a smaller batch"
    ]
    assert check({**plain("m.txt", 3, "mined"), "neighbours": {"count": 2}}, objectives=["info_nce"]) == []


def test_more_neighbours_than_other_texts(check: Check) -> None:
    for count in (5, 100_000):
        mined = {**plain("m.txt", 5, "mined"), "neighbours": {"count": count}}
        assert check(pairs("p.jsonl", 5), mined, objectives=["info_nce"]) == [
            f"data[1].neighbours.count: found {count}; allowed: at most 4, the other texts of the source; "
            "use fewer neighbours, or more data"
        ]
    assert check({**plain("m.txt", 5, "mined"), "neighbours": {"count": 4}}, objectives=["info_nce"]) == []
    assert check(pairs("p.jsonl", 5), plain("m.txt", 1, "mined"), objectives=["info_nce"]) == [
        "data[1]: found 1 text; allowed: at least 2 in a mined source; use more data"
    ]


@pytest.mark.parametrize("seed", [-1, 2**70, True, "a"])
def test_a_seed_that_is_none_is_a_problem_of_its_own(check: Check, seed: Any) -> None:
    (problem,) = check(pairs("p.jsonl", 5), objectives=["info_nce"], seed=seed)
    assert problem.startswith("seed: found ")


@pytest.mark.parametrize("limits", [[5, 0], [0, 0], None, [], [0, "1"], [True, False]])
def test_a_range_that_is_none_brings_no_faults_of_scores(check: Check, limits: Any) -> None:
    found = check(scored("s.jsonl", [0, 1, 2, 5]), objectives=[{"kind": "score_distill", "range": limits}])
    assert found
    assert all(line.startswith("objectives[0].range") for line in found)


def test_a_number_of_classes_beyond_all_bounds(check: Check) -> None:
    source = labelled("l.jsonl", [0, 1, 2, 0])
    assert check(source, objectives=[{"kind": "classify", "classes": 1_000_000_000}]) == [
        "objectives[0].classes: found 1000000000; allowed: a whole number of at least 2 and of at most 1000000 or "
        "null; leave it out for the default, null"
    ]
    triplets = {"file": lines("t.jsonl", [{"anchor": "a", "positive": "b", "negative": "c"}] * 4), "kind": "triplets"}
    (problem,) = check(plain("m.txt", 9, "mined"), triplets, objectives=["info_nce"])
    assert problem.startswith("data[1]: 's1' gives 1 hard negatives a row, data[0] ('s0') gives 0; allowed:")


def test_labels_and_scores_that_the_objectives_cannot_use(check: Check) -> None:
    sources = (labelled("l.jsonl", [0, 1, 2, 5]), scored("s.jsonl", [0, 1, 2, 6]))
    objectives = [{"kind": "classify", "classes": 4}, {"kind": "score_distill", "range": [0, 5]}]
    assert check(*sources, objectives=objectives) == [
        "l.jsonl:4: found class '5'; allowed: whole numbers from 0 to 3, since the objective classify has "
        "`classes: 4`; correct the label, or change classes",
        "s.jsonl:4: found the score 6; allowed: 0 to 5, the range of the objective score_distill; "
        "correct the score, or change the range",
    ]
    assert check(scored("s.jsonl", [0, 1, 0, 2]), objectives=["score_distill"]) == [
        "s.jsonl:4: found the score 2; allowed: 0 to 1, the range of the objective score_distill; "
        "correct the score, or change the range"
    ]
    (problem,) = check(scored("s.jsonl", [1, 1, 1, 1]), objectives=["cosent"])
    assert problem.startswith(
        "s.jsonl:1, and all other scored rows: found the score 1; allowed: at least two different"
    )


@pytest.mark.parametrize("classes", [None, 4])
def test_a_class_seen_only_in_the_held_out_set(check: Check, classes: int | None) -> None:
    held_out = {"evaluation": {"every": 1, "data": [{"name": "h", **labelled("h.jsonl", [0, 3, 1])}]}}
    objectives = [{"kind": "classify", **({"classes": classes} if classes else {})}]
    assert check(labelled("l.jsonl", [0, 1, 2, 0]), objectives=objectives, **held_out) == [
        "h.jsonl:2: found class '3', which no training row has; allowed: the 3 classes of the training data (0, 1, 2); "
        "add training rows of it, or delete its rows here"
    ]


def test_classes_are_not_compared_where_a_training_source_cannot_be_read(check: Check) -> None:
    held_out = {"evaluation": {"every": 1, "data": [{"name": "h", **labelled("h.jsonl", [3])}]}}
    sources = (labelled("l.jsonl", [0, 1, 2, 0]), {"file": "none.csv", "kind": "labelled"})
    (problem,) = check(*sources, objectives=["classify"], **held_out)
    assert problem.startswith("data[1].file: found no file none.csv")


def test_teachers_vectors(check: Check) -> None:
    distill = {"kind": "distill", "vectors": True}
    source = {**pairs("p.jsonl", 5), "vectors": "v.safetensors"}
    save_file({name: np.ones((5, 3), np.float32) for name in ("anchor", "positive")}, "v.safetensors")
    assert check(source, objectives=[distill]) == []
    save_file({name: np.ones((4, 3), np.float32) for name in ("anchor", "positive")}, "v.safetensors")
    (problem,) = check(source, objectives=[distill])
    assert problem.startswith("v.safetensors: tensor 'anchor': found shape [4, 3]; allowed: [5, width]")
    (problem,) = check({**source, "vectors": "w.safetensors"}, objectives=[distill])
    assert problem.startswith("data[0].vectors: found no file w.safetensors; allowed: an existing .safetensors file")
    assert check(pairs("p.jsonl", 5), objectives=[distill]) == [
        "objectives[0].vectors: found true, and no source has a teacher's vectors; allowed: true with a `vectors` file "
        "in every source of pairs; add them, or name a teacher"
    ]
