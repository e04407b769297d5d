"""Classes and scores in cells."""

from typing import Any

import pytest

from matryoshka_text.errors import DataError
from matryoshka_text.reading import Cells, Faults


def told(faults: Faults) -> str:
    with pytest.raises(DataError) as error:
        faults.raise_any()
    return str(error.value)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("joy", "joy"), (" joy ", "joy"), (0, "0"), (77, "77"), (-1, "-1"), ("-1", "-1"), ("7", "7"), (True, "1")],
)
def test_a_class_is_a_name_or_a_whole_number(cell: Any, expected: str) -> None:
    faults = Faults()
    assert Cells("x", {"label": "c"}, faults).class_name((1, {"c": cell})) == expected
    assert faults.count == 0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"c": None}, "found null; allowed: a text or a whole number; fill the cell, or delete the row"),
        (
            {"c": 1.0},
            "found 1.0 (float); allowed: a text or a whole number; fill the cell, or delete the row",
        ),
        (
            {"c": ["a"]},
            "found ['a'] (list); allowed: a text or a whole number; fill the cell, or delete the row",
        ),
        ({}, "found no such cell; allowed: a text or a whole number; add it, or delete the row"),
        ({"c": ""}, "found an empty text; allowed: a text that is not blank; fill the cell, or delete the row"),
        ({"c": " "}, "found a text of blanks; allowed: a text that is not blank; fill the cell, or delete the row"),
    ],
)
def test_what_is_no_class(row: dict[str, Any], expected: str) -> None:
    faults = Faults()
    assert Cells("x", {"label": "c"}, faults).class_name((1, row)) is None
    assert told(faults) == f"x:1: label (column 'c'): {expected}"


def test_minus_one_is_no_class_on_the_hub() -> None:
    faults = Faults()
    assert Cells("hub a/b test", {"label": "c"}, faults, hub=True).class_name((4, {"c": -1})) is None
    assert told(faults) == (
        "hub a/b test:4: label (column 'c'): found -1, which stands for no label on the hub; allowed: a text "
        "or a whole number; use a split that has labels"
    )
    assert Cells("x", {"label": "c"}, Faults(), hub=True).class_name((1, {"c": 0})) == "0"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [(0, 0.0), (2.5, 2.5), ("5", 5.0), ("-1e-3", -1e-3), (" .5 ", 0.5), ("0,25", 0.25), ("1234,5", 1234.5)],
)
def test_a_score_is_a_finite_number(cell: Any, expected: float) -> None:
    assert Cells("x", {"score": "s"}, Faults()).score((1, {"s": cell})) == expected


@pytest.mark.parametrize(
    ("cell", "shown"), [("x", "'x'"), (None, "null"), (True, "true"), ("nan", "'nan'"), (float("inf"), "inf")]
)
def test_what_is_no_score(cell: Any, shown: str) -> None:
    faults = Faults()
    assert Cells("x", {"score": "s"}, faults).score((1, {"s": cell})) is None
    assert told(faults) == (
        f"x:1: score (column 's'): found {shown}; allowed: a finite number; correct it, or delete the row"
    )


@pytest.mark.parametrize("cell", ["1_0", "\u0661\u0662", "0x10", "1,2,3", "infinity", "1e999", 10**400])
def test_only_plain_finite_numbers_are_scores(cell: Any) -> None:
    faults = Faults()
    assert Cells("x", {"score": "s"}, faults).score((1, {"s": cell})) is None
    assert faults.count == 1


def test_a_comma_that_may_mark_thousands_is_not_guessed() -> None:
    faults = Faults()
    assert Cells("x", {"score": "s"}, faults).score((1, {"s": "1,250"})) is None
    assert "found '1,250'; allowed: a finite number, with a decimal point if it has a comma" in told(faults)


def test_a_text_may_be_blank_if_that_is_allowed() -> None:
    faults = Faults()
    cells = Cells("x", {"text": "t"}, faults)
    assert [cells.text((1, {"t": cell}), "text", blank=True) for cell in ("", " ", "a")] == ["", " ", "a"]
    assert cells.text((2, {"t": None}), "text", blank=True) is None
    assert told(faults) == (
        "x:2: text (column 't'): found null; allowed: a text; write a text there, or delete the row"
    )
