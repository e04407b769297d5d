"""Labelled pairs turned into triplets."""

import gzip
import json
from pathlib import Path

import pytest

from matryoshka_text.data.nli import MOST_OF_A_PREMISE, Judged, label_of, triplets


def rows(*judgements: tuple[str, str, str]) -> list[Judged]:
    names = {"e": "entailment", "n": "neutral", "c": "contradiction"}
    return [Judged(i, premise, text, names[label]) for i, (premise, text, label) in enumerate(judgements, start=1)]


def test_a_premise_with_both_labels_gives_triplets() -> None:
    found = list(triplets(rows(("p", "yes", "e"), ("q", "only", "e"), ("p", "no", "c"), ("p", "so-so", "n"))))
    assert found == [(1, ("p", "yes", "no"))]


def test_different_hypotheses_come_first_and_four_are_enough() -> None:
    found = list(triplets(rows(*(("p", t, "e") for t in "ABC"), *(("p", t, "c") for t in "xyz"))))
    assert [texts[1:] for _, texts in found] == [("A", "x"), ("B", "y"), ("C", "z"), ("A", "y")]
    assert len(found) == MOST_OF_A_PREMISE
    assert [number for number, _ in found] == [1, 2, 3, 1]


def test_no_triplet_twice_and_none_with_equal_positive_and_negative() -> None:
    found = list(triplets(rows(("p", "a", "e"), ("p", "a", "e"), ("p", "a", "c"), ("p", "b", "c"), ("p", "b", "c"))))
    assert found == [(1, ("p", "a", "b"))]


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("entailment", "entailment"),
        (" Neutral", "neutral"),
        ("CONTRADICTION", "contradiction"),
        (0, "entailment"),
        (1, "neutral"),
        (2, "contradiction"),
        ("2", "contradiction"),
        (-1, "unlabelled"),
        ("-", "unlabelled"),
        ("-1", "unlabelled"),
        (3, None),
        (True, None),
        (None, None),
        (0.0, None),
        ("yes", None),
        ([], None),
    ],
)
def test_labels(cell: object, label: str | None) -> None:
    assert label_of(cell) == label


def test_the_shared_sample_gives_the_published_triplets(data_root: Path) -> None:
    def lines(name: str) -> list[dict[str, str]]:
        with gzip.open(data_root / "train" / name, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    judged = [
        Judged(i, row["premise"], row["hypothesis"], row["label"]) for i, row in enumerate(lines("nli.jsonl.gz"), 1)
    ]
    ours = {texts for _, texts in triplets(judged)}
    theirs = {(row["anchor"], row["positive"], row["negative"]) for row in lines("nli_triplets.jsonl.gz")}
    assert len(ours) == len(theirs) == 2154
    assert len(ours & theirs) >= 2150  # where a premise has more than four, another four may be kept
