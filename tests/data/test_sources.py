"""Training sources: what they give, and the place of every wrong row."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from matryoshka_text.data import read_source
from matryoshka_text.data.sources import sampled
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import Source

PAIR = {"anchor": "a", "positive": "p"}


def write(folder: Path, rows: list[Any]) -> None:
    (folder / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def source(kind: str = "pairs", **settings: Any) -> Source:
    return Source(name="s", file="r.jsonl", kind=kind, **settings)


def faults(folder: Path, rows: list[Any], kind: str = "pairs", **settings: Any) -> list[str]:
    write(folder, rows)
    with pytest.raises(DataError) as error:
        read_source(source(kind, **settings), folder, key="data[3]")
    return str(error.value).replace(f"{folder}/", "").splitlines()


def test_pairs(tmp_path: Path) -> None:
    write(tmp_path, [{"q": "a", "d": "b", "other": 5}, {"q": "c", "d": "d"}])
    found = read_source(source(columns={"anchor": "q", "positive": "d"}), tmp_path)
    assert list(found.texts()) == [("a", "b"), ("c", "d")]
    assert found.numbers.tolist() == [1, 2]
    assert found.negatives == 0


@pytest.mark.parametrize(
    ("negatives", "columns"),
    [
        ({"negative": "x"}, {}),
        ({"n": "x"}, {"negatives": "n"}),
        ({"n": ["x"]}, {"negatives": "n"}),
        ({"n": ["x", "y", "z"]}, {"negatives": "n"}),
        ({"n1": "x", "n2": "y"}, {"negatives": ["n1", "n2"]}),
    ],
)
def test_triplets_with_any_number_of_negatives(tmp_path: Path, negatives: dict[str, Any], columns: Any) -> None:
    write(tmp_path, [{**PAIR, **negatives}] * 2)
    found = read_source(source("triplets", columns=columns), tmp_path)
    (cell, *more) = negatives.values()
    expected = tuple(cell) if isinstance(cell, list) else (cell, *more)
    assert list(found.texts()) == [("a", "p", *expected)] * 2
    assert found.negatives == len(expected)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("", "an empty text; allowed: a text that is not blank; fill the cell, or delete the row"),
        (" \t", "a text of blanks; allowed: a text that is not blank; fill the cell, or delete the row"),
        (None, "null; allowed: a text that is not blank; write a text there, or delete the row"),
        (5, "5 (int); allowed: a text that is not blank; write a text there, or delete the row"),
        ([], "an empty list; allowed: at least one text; add one, or delete the row"),
        (True, "true (bool); allowed: a text that is not blank; write a text there, or delete the row"),
        ("\ud800", "a text with half a surrogate pair; allowed: a text that is not blank; write the character whole"),
    ],
)
def test_a_cell_that_is_no_text(tmp_path: Path, cell: Any, found: str) -> None:
    rows = [PAIR, {"anchor": "a", "positive": cell}]
    assert faults(tmp_path, rows) == [f"r.jsonl:2: positive (column 'positive'): found {found}"]


def test_a_cell_that_is_not_there_and_every_fault_of_a_row(tmp_path: Path) -> None:
    assert faults(tmp_path, [PAIR, {"anchor": ""}]) == [
        "r.jsonl:2: anchor (column 'anchor'): found an empty text; allowed: a text that is not blank; "
        "fill the cell, or delete the row",
        "r.jsonl:2: positive (column 'positive'): found no such cell; allowed: a text that is not blank; "
        "add it, or delete the row",
    ]


def test_an_object_without_cells_is_an_empty_row(tmp_path: Path) -> None:
    assert len(faults(tmp_path, [PAIR, {}])) == 2


def test_missing_columns_are_told_once_with_those_there_are(tmp_path: Path) -> None:
    found = faults(tmp_path, [{"anchr": "a", "text": "b"}] * 50)
    assert found == [
        "data[3].columns.anchor: found no column 'anchor' in r.jsonl; allowed: anchr, text; write `anchor: anchr`",
        "data[3].columns.positive: found no column 'positive' in r.jsonl; allowed: anchr, text; "
        "name the column that holds the positive",
    ]


def test_lists_of_positives_and_any_number_of_negatives(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"query": "a", "pos": ["p", "q"], "neg": ["x", "y"]},
        {"query": "b", "pos": ["r"], "neg": ["z"]},
        {"query": "c", "pos": "s", "neg": ["u", "v", "w"]},
        {"query": "d", "pos": ["t"], "neg": []},
    ]
    write(tmp_path, rows)
    columns = {"anchor": "query", "positive": "pos", "negatives": "neg"}
    found = read_source(source("triplets", columns=columns), tmp_path)
    assert list(found.texts()) == [
        ("a", "p", "x", "y"),
        ("a", "q", "x", "y"),
        ("b", "r", "z", "x"),
        ("c", "s", "u", "v"),
        ("d", "t", "y", "x"),
    ]
    assert found.numbers.tolist() == [1, 1, 2, 3, 4]
    assert (
        "most rows have 2 negatives; examples with fewer (2) get some of other rows, those with more (1) keep"
        in caplog.text
    )
    pairs = read_source(source("pairs", columns={"anchor": "query", "positive": "pos"}), tmp_path)
    assert list(pairs.texts())[:2] == [("a", "p"), ("a", "q")]


def test_negatives_that_are_no_texts_and_none_at_all(tmp_path: Path) -> None:
    rows = [{**PAIR, "negative": n} for n in (["x", "y"], ["x", ""], None, 5)]
    found = faults(tmp_path, rows, "triplets")
    assert found[0].startswith("r.jsonl:2: negatives (column 'negative[1]'): found an empty text")
    assert found[1].startswith("r.jsonl:3: negatives (column 'negative'): found null")
    assert found[2].startswith("r.jsonl:4: negatives (column 'negative'): found 5 (int)")
    none = "negatives: found none; allowed: at least one text; add one, or delete the row"
    assert faults(tmp_path, [{**PAIR, "negative": []}] * 2, "triplets") == [f"r.jsonl:{n}: {none}" for n in (1, 2)]
    few = [{**PAIR, "negative": ["x", "y"]}] * 2 + [{"anchor": "a", "positive": "Y ", "negative": ["x"]}]
    assert faults(tmp_path, few, "triplets") == [
        "r.jsonl:3: negatives: found 1; allowed: 2 as in most rows (other rows have no other texts to fill up with); "
        "add some, or delete the row"
    ]


def test_a_file_of_vectors_needs_the_negatives_of_every_row(tmp_path: Path) -> None:
    rows = [{**PAIR, "negative": n} for n in (["x", "y"], ["z", "y"], ["x"], ["x", "y", "z"])]
    assert faults(tmp_path, rows, "triplets", vectors="v.safetensors") == [
        f"r.jsonl:{row}: negatives: found {found}; allowed: 2 as in most rows (the file of vectors has one for each); "
        f"{way_out}, or delete the row"
        for row, found, way_out in ((3, 1, "add some"), (4, 3, "leave some out"))
    ]


def test_empty_cells_among_several_columns_of_negatives(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("anchor,positive,n1,n2,n3\na,p,x,y,\nb,q,,z,\nc,r,u,v,\n")
    triplets = Source(name="s", file="r.csv", kind="triplets", columns={"negatives": ["n1", "n2", "n3"]})
    found = read_source(triplets, tmp_path)
    assert list(found.texts()) == [("a", "p", "x", "y"), ("b", "q", "z", "x"), ("c", "r", "u", "v")]


def test_nli_gives_triplets_and_tells_labels_it_does_not_know(tmp_path: Path) -> None:
    def row(label: Any, text: str) -> dict[str, Any]:
        return {"premise": "p", "hypothesis": text, "label": label}

    write(tmp_path, [row(0, "yes"), row(-1, "?"), row("-", "!"), row(2, "no"), row("neutral", "so-so")])
    found = read_source(source("nli"), tmp_path)
    assert list(found.texts()) == [("p", "yes", "no")]
    assert found.numbers.tolist() == [1]
    assert faults(tmp_path, [row(0, "yes"), row(3, "x"), row("maybe", "y")], "nli") == [
        "r.jsonl:2: label (column 'label'): found 3; allowed: entailment, neutral, contradiction, or 0, 1, 2 in this "
        "order, or -1 for none; rename the label, or delete the row",
        "r.jsonl:3: label (column 'label'): found 'maybe'; allowed: entailment, neutral, contradiction, or 0, 1, 2 in "
        "this order, or -1 for none; rename the label, or delete the row",
    ]
    assert faults(tmp_path, [row(0, "yes"), row(1, "x")], "nli") == [
        "r.jsonl: found no premise with both an entailed and a contradicted hypothesis; allowed: at least one; "
        "use more data, or another kind"
    ]


def test_a_sample_is_seeded_keeps_the_order_and_the_places(tmp_path: Path) -> None:
    write(tmp_path, [{"anchor": f"a{i}", "positive": f"p{i}"} for i in range(100)])
    one, again, other = (read_source(source(rows=10), tmp_path, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert list(one.texts()) != list(other.texts())
    assert len(one) == 10
    assert one.numbers.tolist() == sorted(one.numbers)
    assert [texts[0] for texts in one.texts()] == [f"a{number - 1}" for number in one.numbers]
    assert len(read_source(source(rows=1000), tmp_path)) == 100


def test_the_sample_is_the_same_on_every_machine() -> None:
    assert sampled(1000, 5, "0:s") == [186, 312, 405, 522, 653]


@pytest.mark.parametrize("kind", ["text", "mined"])
@pytest.mark.parametrize("name", ["t.txt", "r.jsonl"])
def test_single_texts_from_plain_files_and_from_columns(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / "t.txt").write_text("a\nb\n")
    write(tmp_path, [{"body": "a"}, {"body": "b"}])
    columns = {} if name == "t.txt" else {"columns": {"text": "body"}}
    found = read_source(Source.model_validate({"name": "s", "file": name, "kind": kind, **columns}), tmp_path)
    assert (list(found.texts()), found.numbers.tolist(), found.values) == ([("a",), ("b",)], [1, 2], None)


def test_labelled_and_scored_rows_have_values(tmp_path: Path) -> None:
    write(tmp_path, [{"text": "a", "label": 3, "label_text": "x"}, {"text": "b", "label": " joy"}])
    found = read_source(source("labelled"), tmp_path)
    assert (list(found.texts()), found.values) == ([("a",), ("b",)], ["3", "joy"])
    write(
        tmp_path, [{"sentence1": "a", "sentence2": "b", "score": 0}, {"sentence1": "c", "sentence2": "d", "score": "2"}]
    )
    found = read_source(source("scored"), tmp_path)
    assert (list(found.texts()), found.values) == ([("a", "b"), ("c", "d")], [0.0, 2.0])


def test_wrong_cells_of_the_new_kinds_have_their_places(tmp_path: Path) -> None:
    assert faults(tmp_path, [{"text": "a", "label": 1.5}, {"text": "", "label": None}], "labelled") == [
        "r.jsonl:1: label (column 'label'): found 1.5 (float); allowed: a text or a whole number; "
        "fill the cell, or delete the row",
        "r.jsonl:2: text (column 'text'): found an empty text; allowed: a text that is not blank; "
        "fill the cell, or delete the row",
        "r.jsonl:2: label (column 'label'): found null; allowed: a text or a whole number; "
        "fill the cell, or delete the row",
    ]
    assert faults(tmp_path, [{"sentence1": "a", "sentence2": 5, "score": "high"}], "scored") == [
        "r.jsonl:1: sentence2 (column 'sentence2'): found 5 (int); allowed: a text that is not blank; "
        "write a text there, or delete the row",
        "r.jsonl:1: score (column 'score'): found 'high'; allowed: a finite number; correct it, or delete the row",
    ]
    assert faults(tmp_path, [{"text": 1.5}], "mined")[0].startswith(
        "r.jsonl:1: text (column 'text'): found 1.5 (float)"
    )
    assert faults(tmp_path, [{"text": "a", "class": 1}], "labelled") == [
        "data[3].columns.label: found no column 'label' in r.jsonl; allowed: text, class; name the column that holds "
        "the label"
    ]


def test_values_and_vectors_go_with_their_rows_in_a_sample(tmp_path: Path) -> None:
    write(tmp_path, [{"text": f"t{i}", "label": i} for i in range(50)])
    found = read_source(source("labelled", rows=9), tmp_path, seed=2)
    assert [f"t{value}" for value in found.values or ()] == [text for (text,) in found.texts()]
    rows = [{"anchor": f"a{i}", "positive": "p", "negative": ["x", "y"]} for i in range(50)]
    write(tmp_path, rows)
    numbers = np.arange(1, 51, dtype=np.float32)[:, None]
    tensors = {name: numbers + i for i, name in enumerate(("anchor", "positive", "negative_0", "negative_1"))}
    save_file(tensors, tmp_path / "v.safetensors")
    found = read_source(source("triplets", rows=9, vectors="v.safetensors"), tmp_path, seed=2)
    assert found.vectors is not None
    assert len(found.vectors) == 4
    for shift, column in enumerate(found.vectors):
        assert [f"a{int(row[0]) - 1 - shift}" for row in column] == [texts[0] for texts in found.texts()]


def test_vectors_are_checked_against_the_rows_before_the_sample(tmp_path: Path) -> None:
    save_file(
        {"anchor": np.ones((2, 3), np.float32), "positive": np.ones((2, 3), np.float32)}, tmp_path / "v.safetensors"
    )
    write(tmp_path, [PAIR] * 5)
    with pytest.raises(DataError) as error:
        read_source(source(rows=2, vectors="v.safetensors"), tmp_path)
    assert str(error.value).replace(f"{tmp_path}/", "").splitlines() == [
        "v.safetensors: tensor 'anchor': found shape [2, 3]; allowed: [5, width], a row for each of the 5 examples in "
        "their file's order, before a sample is drawn; compute the vectors of this data again"
    ]
    assert faults(tmp_path, [PAIR], vectors="w.safetensors")[0].startswith(
        "data[3].vectors: found no file w.safetensors;"
    )
