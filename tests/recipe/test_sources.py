"""The sections that say where texts come from."""

from typing import Any

import pytest
from pydantic import ValidationError

from matryoshka_text.objectives import STREAMS
from matryoshka_text.recipe.sources import (
    HELD_OUT_ROLES,
    TRAINING_ROLES,
    HeldOut,
    Neighbours,
    Source,
    stream_of,
)
from matryoshka_text.recipe.wording import dotted, faults_of
from matryoshka_text.section import Section

FILES = "the path of a file ending in .jsonl, .jsonl.gz, .csv, .csv.gz, .parquet, .json, .json.gz, .tsv, .tsv.gz"


def told(section: type[Section], **values: Any) -> list[str]:
    """The faults as a recipe's reader words them."""
    with pytest.raises(ValidationError) as error:
        section.model_validate({"name": "s", **values})
    return [f"{dotted(loc)}: {text}" for loc, text in faults_of(error.value, section)]


def test_every_kind_has_a_stream() -> None:
    assert STREAMS == ("pairs", "text", "labelled", "scored")
    assert {kind: stream_of(kind) for kind in TRAINING_ROLES} == {
        "pairs": "pairs",
        "triplets": "pairs",
        "nli": "pairs",
        "mined": "pairs",
        "text": "text",
        "labelled": "labelled",
        "scored": "scored",
    }


@pytest.mark.parametrize(("section", "roles"), [(Source, TRAINING_ROLES), (HeldOut, HELD_OUT_ROLES)])
def test_every_kind_has_its_columns(section: type[Source] | type[HeldOut], roles: dict[str, tuple[str, ...]]) -> None:
    for kind, own in roles.items():
        made = section.model_validate({"name": "s", "file": "x.csv", "kind": kind})
        assert set(made.columns.model_dump()) == set(own)
        assert section.model_validate(made.model_dump(mode="json")) == made


@pytest.mark.parametrize(("section", "kind"), [(Source, "text"), (Source, "mined"), (HeldOut, "text")])
@pytest.mark.parametrize("file", ["x.txt", "x.txt.gz"])
def test_plain_text_has_no_columns(section: type[Source] | type[HeldOut], kind: str, file: str) -> None:
    made = section.model_validate({"name": "s", "file": file, "kind": kind})
    assert made.columns.model_dump() == {}
    assert section.model_validate(made.model_dump(mode="json")) == made
    assert told(section, file=file, kind=kind, columns={"text": "body"}) == [
        "columns.text: found a column for 'text' of a plain text file; allowed: none, a line is one text; remove it"
    ]


@pytest.mark.parametrize(
    ("section", "kind", "file", "expected"),
    [
        (
            Source,
            "pairs",
            "x.txt",
            f"found 'x.txt' for kind 'pairs'; allowed: {FILES}; for kind mined or text also .txt",
        ),
        (Source, "labelled", "x.txt.gz", f"found 'x.txt.gz' for kind 'labelled'; allowed: {FILES}; for kind mined or"),
        (
            HeldOut,
            "sts",
            "x.txt",
            f"found 'x.txt' for kind 'sts'; allowed: {FILES}; for kind text also .txt, .txt.gz; ",
        ),
        (Source, "text", "x.md", f"found 'x.md'; allowed: {FILES}; for kind mined or text also .txt, .txt.gz; convert"),
        (Source, "pairs", "x.md", f"found 'x.md'; allowed: {FILES}; convert the file, or rename it to what it holds"),
    ],
)
def test_files_that_a_kind_cannot_be_read_from(section: type[Section], kind: str, file: str, expected: str) -> None:
    (found,) = told(section, file=file, kind=kind)
    assert found.startswith(f"file: {expected}")
    assert found.endswith("; convert the file, or rename it to what it holds")


def test_a_wrong_kind_brings_no_fault_about_plain_text() -> None:
    (found,) = told(Source, file="x.txt", kind="texts")
    assert found.startswith("kind: found 'texts'; allowed: pairs, triplets, nli, mined, text, labelled or scored; ")


def test_columns_of_another_kind() -> None:
    assert told(Source, file="x.csv", kind="labelled", columns={"score": "s"}) == [
        "columns.score: found a column for 'score', which kind 'labelled' does not have; allowed: text, label; "
        "remove it, or change the kind"
    ]
    assert told(HeldOut, file="x.csv", kind="text", columns={"label": "s"}) == [
        "columns.label: found a column for 'label', which kind 'text' does not have; allowed: text; "
        "remove it, or change the kind"
    ]


def test_mined_sources_have_neighbours_and_others_none() -> None:
    def mined(**more: Any) -> Source:
        return Source.model_validate({"name": "s", "file": "x.txt", "kind": "mined", **more})

    assert mined().neighbours == mined(neighbours=None).neighbours == Neighbours(count=1, lowest=None)
    made = mined(neighbours={"count": 3, "lowest": 0.5})
    assert made.neighbours == Neighbours(count=3, lowest=0.5)
    assert Source.model_validate(made.model_dump(mode="json")) == made
    assert told(Source, file="x.csv", kind="pairs", neighbours={}) == [
        "neighbours: found a section for kind 'pairs'; allowed: only for kind mined; remove it, or change the kind"
    ]
    assert told(Source, file="x.txt", kind="mined", neighbours={"count": 0, "lowest": 1.5}) == [
        "neighbours.count: found 0; allowed: a whole number of at least 1; leave it out for the default, 1",
        "neighbours.lowest: found 1.5; allowed: a number of at least -1 and of at most 1 or null; "
        "leave it out for the default, null",
    ]


def test_vectors_belong_to_pairs_and_triplets() -> None:
    for kind in ("pairs", "triplets"):
        assert Source.model_validate({"name": "s", "file": "x.csv", "kind": kind, "vectors": "v.safetensors"}).vectors
    assert told(Source, file="x.csv", kind="nli", vectors="v.safetensors") == [
        "vectors: found 'v.safetensors' for kind 'nli'; allowed: only for kinds pairs and triplets, whose examples are "
        "the rows of the file; remove it, or write the examples down as pairs or triplets"
    ]
    assert told(Source, file="x.csv", kind="pairs", vectors="v.npy") == [
        "vectors: found 'v.npy'; allowed: the path of a .safetensors file; save the vectors with safetensors"
    ]


def test_all_faults_of_a_source_are_told_at_once() -> None:
    found = told(Source, file="x.txt", kind="scored", vectors="v.npy", neighbours={}, columns={"text": "a"}, rows=0)
    assert [line.split(": ")[0] for line in found] == ["rows", "file", "columns.text", "vectors", "neighbours"]
