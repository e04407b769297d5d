"""The training data of a recipe, stream by stream."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from matryoshka_text.data import Examples, read_sources, streams_of
from matryoshka_text.errors import DataError
from matryoshka_text.recipe import Base, Recipe, Source, Stopping
from tests.builders import source_rows


def texts(found: Examples) -> list[list[str]]:
    return [list(column) for column in found.columns]


OBJECTIVE = {"pairs": "info_nce", "text": "mlm", "labelled": "classify", "scored": "cosent"}
STREAM = {"triplets": "pairs", "mined": "pairs", "nli": "pairs"}


def recipe(folder: Path, *sources: Source, **objectives: dict[str, Any]) -> Recipe:
    """A recipe with an objective for each stream; `objectives` are settings by kind."""
    kinds = dict.fromkeys(OBJECTIVE[STREAM.get(source.kind, source.kind)] for source in sources)
    kinds.update(dict.fromkeys(objectives))
    return Recipe(
        name="r",
        base=Base(model="m"),
        dims=[2],
        data=sources,
        objectives=[{"kind": kind, **objectives.get(kind, {})} for kind in kinds],
        stopping=Stopping(steps=1),
        folder=folder,
    )


def source(name: str, kind: str = "pairs", end: str = "csv", **more: Any) -> Source:
    return Source.model_validate({"name": name, "file": f"{name}.{end}", "kind": kind, **more})


def streams(made: Recipe) -> dict[str, Examples]:
    return streams_of(made, read_sources(made))


def message(made: Recipe, folder: Path) -> list[str]:
    with pytest.raises(DataError) as error:
        streams(made)
    return str(error.value).replace(f"{folder}/", "").splitlines()


def test_sources_come_one_after_the_other_with_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.csv").write_text("anchor,positive\na,b\nc,d\n")
    (tmp_path / "two.csv").write_text("anchor,positive\ne,f\n")
    (found,) = streams(recipe(tmp_path, source("one"), source("two"))).values()
    assert isinstance(found, Examples)
    assert len(found) == 3
    assert texts(found) == [["a", "c", "e"], ["b", "d", "f"]]
    assert found.source.tolist() == [0, 0, 1]
    assert found.source.dtype == np.int16
    assert found.names == ("one", "two")
    assert found.negatives == 0
    assert (found.values, found.classes, found.seen_classes, found.vectors) == (None, (), (), None)
    assert [found.place(i) for i in range(3)] == [
        f"{tmp_path}/one.csv:2",
        f"{tmp_path}/one.csv:3",
        f"{tmp_path}/two.csv:2",
    ]
    monkeypatch.chdir(tmp_path)
    assert streams(recipe(tmp_path, source("one")))["pairs"].place(0) == "one.csv:2"


def test_every_stream_has_its_own_examples(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("sentence1,sentence2,score\na,b,4.5\nc,d,1\n")
    (tmp_path / "l.csv").write_text("text,label\nx,10\ny,2\nz,10\n")
    (tmp_path / "m.csv").write_text("text,label\nw,9\n")
    (tmp_path / "t.txt").write_text("first text\n\nsecond text\n")
    (tmp_path / "p.csv").write_text("anchor,positive\na,b\n")
    sources = [source("s", "scored"), source("l", "labelled"), source("t", "text", "txt"), source("p")]
    found = streams(recipe(tmp_path, *sources, source("m", "labelled")))
    assert list(found) == ["pairs", "text", "labelled", "scored"]
    assert texts(found["text"]) == [["first text", "second text"]]
    assert found["text"].place(1) == f"{tmp_path}/t.txt:3"
    labelled, scored = found["labelled"], found["scored"]
    assert (texts(labelled), labelled.names) == ([["x", "y", "z", "w"]], ("l", "m"))
    assert labelled.classes == ("2", "9", "10")
    assert labelled.values is not None
    assert (labelled.values.tolist(), labelled.values.dtype) == ([2, 0, 2, 1], np.int64)
    assert labelled.place(3) == f"{tmp_path}/m.csv:2"
    assert texts(scored) == [["a", "c"], ["b", "d"]]
    assert scored.values is not None
    assert (scored.values.tolist(), scored.values.dtype) == ([4.5, 1.0], np.float64)


def test_mined_texts_count_as_pairs_once_they_are(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("a\nb\nc\n")
    (tmp_path / "p.csv").write_text("anchor,positive\nd,e\n")
    made = recipe(tmp_path, source("p"), source("m", "mined", "txt"))
    found = read_sources(made)
    assert list(found[1].texts()) == [("a",), ("b",), ("c",)]
    mined = source_rows(found[1].label, [("a", "c")], [1])
    assert texts(streams_of(made, [found[0], mined])["pairs"]) == [["d", "a"], ["e", "c"]]
    with pytest.raises(AssertionError):
        streams_of(made, found)


def test_faults_of_all_sources_are_told(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("anchor,positive\na,\n")
    with pytest.raises(DataError) as error:
        read_sources(recipe(tmp_path, source("one"), source("two")))
    first, second = str(error.value).splitlines()
    assert first.startswith(f"{tmp_path}/one.csv:2: positive")
    assert second.startswith("data[1].file: found no file")


def test_sources_with_different_numbers_of_negatives(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("text\n")
    (tmp_path / "one.csv").write_text("anchor,positive,negative\na,b,c\n")
    (tmp_path / "two.csv").write_text("anchor,positive,negative\na,b,c\n")
    equal = recipe(tmp_path, source("one", "triplets"), source("two", "triplets"))
    assert streams(equal)["pairs"].negatives == 1
    assert message(
        recipe(tmp_path, source("text", "text", "txt"), source("one"), source("two", "triplets")), tmp_path
    ) == [
        "data[2]: 'two' gives 1 hard negatives a row, data[1] ('one') gives 0; allowed: the same number in every "
        "source; name the same number of negatives, or use kind pairs for all"
    ]


def test_a_declared_number_of_classes_names_them_all_and_tells_labels_outside(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("text,label\nx,3\ny,0\n")
    found = streams(recipe(tmp_path, source("l", "labelled"), classify={"classes": 5}))["labelled"]
    assert found.classes == ("0", "1", "2", "3", "4")
    assert found.seen_classes == ("0", "3")
    assert found.values is not None
    assert found.values.tolist() == [3, 0]
    assert message(recipe(tmp_path, source("l", "labelled"), classify={"classes": 3}), tmp_path) == [
        "l.csv:2: found class '3'; allowed: whole numbers from 0 to 2, since the objective classify has `classes: 3`; "
        "correct the label, or change classes"
    ]


def test_faults_of_all_streams_are_told(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("sentence1,sentence2,score\na,b,2\nc,d,2\n")
    (tmp_path / "l.csv").write_text("text,label\nx,a\ny,a\n")
    assert message(recipe(tmp_path, source("s", "scored"), source("l", "labelled")), tmp_path) == [
        "l.csv:2, and all other labelled rows: found class 'a'; allowed: at least two different classes; "
        "add rows of another class, or take the source out",
        "s.csv:2, and all other scored rows: found the score 2; allowed: at least two different scores "
        "(the objective cosent learns their order); use other data",
    ]


def test_scores_outside_the_range_that_distillation_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("sentence1,sentence2,score\na,b,5\nc,d,-0.5\ne,f,5.01\n")
    scored = source("s", "scored")
    made = recipe(tmp_path, scored, score_distill={"range": [0, 5]})
    assert message(made, tmp_path) == [
        f"s.csv:{line}: found the score {score}; allowed: 0 to 5, the range of the objective score_distill; "
        "correct the score, or change the range"
        for line, score in ((3, "-0.5"), (4, "5.01"))
    ]
    assert len(streams(recipe(tmp_path, scored, score_distill={"range": [-1, 6]}))["scored"]) == 3


def vectors(folder: Path, name: str, rows: int, width: int = 3) -> None:
    (folder / f"{name}.jsonl").write_text(
        "".join(json.dumps({"anchor": f"{name}{i}", "positive": f"{name}p{i}"}) + "\n" for i in range(rows))
    )
    numbers = np.arange(1, rows * width + 1, dtype=np.float32).reshape(rows, width)
    save_file({"anchor": numbers, "positive": -numbers}, folder / f"{name}.safetensors")


def test_teachers_vectors_stand_beside_their_texts(tmp_path: Path) -> None:
    vectors(tmp_path, "one", 30)
    vectors(tmp_path, "two", 2)
    made = recipe(
        tmp_path,
        source("one", end="jsonl", vectors="one.safetensors", rows=4),
        source("two", end="jsonl", vectors="two.safetensors"),
    )
    found = streams(made)["pairs"]
    assert found.vectors is not None
    kept = [int(text.removeprefix("one")) for text in found.columns[0][:4]]
    expected = np.arange(1, 91, dtype=np.float32).reshape(30, 3)[kept]
    np.testing.assert_array_equal(found.vectors[0][:4], expected)
    np.testing.assert_array_equal(found.vectors[1][:4], -expected)
    np.testing.assert_array_equal(found.vectors[0][4:], [[1, 2, 3], [4, 5, 6]])
    assert found.vectors[0].dtype == np.float32


def test_teachers_vectors_are_of_all_sources_and_of_one_width(tmp_path: Path) -> None:
    vectors(tmp_path, "one", 3)
    vectors(tmp_path, "two", 3, width=2)
    first = source("one", end="jsonl", vectors="one.safetensors")
    assert message(recipe(tmp_path, source("two", end="jsonl"), first), tmp_path) == [
        "data[0]: 'two' has no vectors, data[1] ('one') has; allowed: vectors for every source of pairs, or for none; "
        "add them, or remove the others"
    ]
    second = source("two", end="jsonl", vectors="two.safetensors")
    assert message(recipe(tmp_path, first, second), tmp_path) == [
        "data[1].vectors: found vectors of width 2, data[0] has 3; allowed: one width in all sources; "
        "use one teacher for all"
    ]


@pytest.mark.parametrize(
    ("file", "rows", "classes"),
    [
        ("train/intents_clinc.jsonl.gz", 15_000, 150),
        ("mteb/mteb__emotion/train.jsonl", 16_000, 6),
        ("mteb/mteb__banking77/train.jsonl", 10_003, 77),
    ],
)
def test_real_labelled_sets(data_root: Path, tmp_path: Path, file: str, rows: int, classes: int) -> None:
    labelled = Source(name="labelled", file=str(data_root / file), kind="labelled")
    found = streams(recipe(tmp_path, labelled))["labelled"]
    assert (len(found), len(found.classes)) == (rows, classes)
    assert set(found.values.tolist()) == set(range(classes))
