"""Classes and scores in cells."""

from typing import Any

import pytest

from matryoshka_text.data.cells import class_of, score_of
from matryoshka_text.data.faults import Faults
from matryoshka_text.errors import DataError


def told(faults: Faults) -> str:
    with pytest.raises(DataError) as error:
        faults.raise_any()
    return str(error.value)


@pytest.mark.parametrize(
    ("cell", "expected"), [("joy", "joy"), (" joy ", "joy"), (0, "0"), (77, "77"), (-1, "-1"), ("-1", "-1"), ("7", "7")]
)
def test_a_class_is_a_name_or_a_whole_number(cell: Any, expected: str) -> None:
    faults = Faults()
    assert class_of({"c": cell}, "c", "x:1", faults) == expected
    assert faults.count == 0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"c": True},
            "found true (bool); allowed: a class, a text or a whole number; name the class, or delete the row",
        ),
        ({"c": None}, "found null; allowed: a class, a text or a whole number; name the class, or delete the row"),
        (
            {"c": 1.0},
            "found 1.0 (float); allowed: a class, a text or a whole number; name the class, or delete the row",
        ),
        (
            {"c": ["a"]},
            "found ['a'] (list); allowed: a class, a text or a whole number; name the class, or delete the row",
        ),
        ({}, "found no such cell; allowed: a class, a text or a whole number; add it, or delete the row"),
        ({"c": ""}, "found an empty text; allowed: a text that is not blank; fill the cell, or delete the row"),
        ({"c": " "}, "found a text of blanks; allowed: a text that is not blank; fill the cell, or delete the row"),
    ],
)
def test_what_is_no_class(row: dict[str, Any], expected: str) -> None:
    faults = Faults()
    assert class_of(row, "c", "x:1", faults) is None
    assert told(faults) == f"x:1: label (column 'c'): {expected}"


def test_minus_one_is_no_class_on_the_hub() -> None:
    faults = Faults()
    assert class_of({"c": -1}, "c", "hub a/b test:4", faults, hub=True) is None
    assert told(faults) == (
        "hub a/b test:4: label (column 'c'): found -1, which stands for no label on the hub; allowed: a class, a text "
        "or a whole number; use a split that has labels"
    )
    assert class_of({"c": 0}, "c", "x:1", Faults(), hub=True) == "0"


@pytest.mark.parametrize(("cell", "expected"), [(0, 0.0), (2.5, 2.5), ("5", 5.0), ("-1e-3", -1e-3)])
def test_a_score_is_a_finite_number(cell: Any, expected: float) -> None:
    assert score_of({"s": cell}, "s", "x:1", Faults()) == expected


@pytest.mark.parametrize(
    ("cell", "shown"), [("x", "'x'"), (None, "null"), (True, "true"), ("nan", "'nan'"), (float("inf"), "inf")]
)
def test_what_is_no_score(cell: Any, shown: str) -> None:
    faults = Faults()
    assert score_of({"s": cell}, "s", "x:1", faults) is None
    assert told(faults) == (
        f"x:1: score (column 's'): found {shown}; allowed: a finite number; correct it, or delete the row"
    )
