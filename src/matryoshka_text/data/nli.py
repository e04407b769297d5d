"""Labelled sentence pairs turned into triplets."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

__all__ = ["MOST_OF_A_PREMISE", "UNLABELLED", "Judged", "label_of", "triplets"]

# A few premises have dozens of hypotheses; without a bound they would fill batches with near-equal rows.
MOST_OF_A_PREMISE = 4
UNLABELLED = "unlabelled"
_IN_ORDER = ("entailment", "neutral", "contradiction")  # SNLI's own numbers: 0, 1, 2
_NAMES = {
    **{name: name for name in _IN_ORDER},
    **{str(number): name for number, name in enumerate(_IN_ORDER)},
    "-1": UNLABELLED,
    "-": UNLABELLED,
}


class Judged(NamedTuple):
    """One row: the place of the pair, its two sentences and what an annotator said of them."""

    number: int
    premise: str
    hypothesis: str
    label: str


def label_of(cell: Any) -> str | None:
    """entailment, neutral, contradiction or unlabelled (-1, "-"); None if `cell` is none of these."""
    if isinstance(cell, bool) or not isinstance(cell, str | int):
        return None
    return _NAMES.get(str(cell).strip().lower())


def triplets(rows: Iterable[Judged]) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """(number of the entailed row, (premise, entailed, contradicted)), premises in their order of appearance.

    Each entailed hypothesis meets each contradicted one, at most `MOST_OF_A_PREMISE` times a premise, different
    hypotheses first. A hypothesis that has both labels counts as entailed. Premises without both are passed over.
    """
    of_premise: dict[str, tuple[dict[str, int], dict[str, int]]] = {}
    for number, premise, hypothesis, label in rows:
        entailed, contradicted = of_premise.setdefault(premise, ({}, {}))
        if label == "entailment":
            entailed.setdefault(hypothesis, number)
        elif label == "contradiction":
            contradicted.setdefault(hypothesis, number)
    for premise, (entailed, contradicted) in of_premise.items():
        negatives = [text for text in contradicted if text not in entailed]
        pairs = [
            (number, (premise, positive, negatives[(index + shift) % len(negatives)]))
            for shift in range(len(negatives))
            for index, (positive, number) in enumerate(entailed.items())
        ]
        yield from pairs[:MOST_OF_A_PREMISE]
