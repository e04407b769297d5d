"""Classes of labelled texts."""

import pytest

from matryoshka_text.data import HeldOutRows, class_names, require_known_classes
from matryoshka_text.errors import DataError


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "10", "-1", "0"], ("-1", "0", "9", "10")),
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "ten"], ("10", "9", "ten")),
        (["03", "2"], ("03", "2")),  # 03 is a name, not a number
    ],
)
def test_names_are_in_the_order_of_numbers_or_letters(labels: list[str], expected: tuple[str, ...]) -> None:
    assert class_names(labels) == expected


def test_a_declared_number_gives_all_of_them() -> None:
    assert class_names(["2", "0"], 4) == ("0", "1", "2", "3")


def test_labels_outside_the_declared_number() -> None:
    labels = ["0", "4", "-1", "joy", "03", "1.0", "3"]
    with pytest.raises(DataError) as error:
        class_names(labels, 4, place=lambda row: f"l.csv:{row + 2}")
    assert str(error.value).splitlines() == [
        f"l.csv:{row + 2}: found class {labels[row]!r}; allowed: whole numbers from 0 to 3, since the objective "
        "classify has `classes: 4`; correct the label, or change classes"
        for row in range(1, 6)
    ]


def test_a_declared_number_is_compared_and_not_counted_out() -> None:
    with pytest.raises(DataError) as error:
        class_names(["0", "x", "1000000000", "9" * 5000, "²"], 1_000_000_000)
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["row 1", "row 2", "row 3", "row 4"]


def test_digits_without_end_are_a_name() -> None:
    assert class_names(["9" * 5000, "10", "9"]) == ("10", "9", "9" * 5000)


@pytest.mark.parametrize("declared", [None, 3])
def test_one_class_is_none(declared: int | None) -> None:
    with pytest.raises(DataError) as error:
        class_names(["1", "1"], declared)
    assert str(error.value) == (
        "row 0, and all other labelled rows: found class '1'; allowed: at least two different classes; "
        "add rows of another class, or take the source out"
    )


def held(labels: list[str]) -> HeldOutRows:
    count = len(labels)
    return HeldOutRows("test", "labelled", ["x"] * count, [], None, labels, list(range(2, count + 2)), "test.csv")


def test_a_class_seen_only_in_the_held_out_set() -> None:
    require_known_classes(held(["a", "b", "a"]), ("a", "b", "c"))
    with pytest.raises(DataError) as error:
        require_known_classes(held(["a", "z", "b", "z", "y"]), ("a", "b", "c"))
    assert str(error.value).splitlines() == [
        f"test.csv:{line}: found class {name!r}, which no training row has; allowed: the 3 classes of the training "
        "data (a, b, c); add training rows of it, or delete its rows here"
        for line, name in ((3, "z"), (6, "y"))
    ]


def test_five_unknown_classes_are_told_and_the_others_counted() -> None:
    with pytest.raises(DataError) as error:
        require_known_classes(held([str(i) for i in range(12)]), tuple("abcdefg"))
    lines = str(error.value).splitlines()
    assert len(lines) == 6
    assert "the 7 classes of the training data (a, b, c, d, e, …)" in lines[0]
    assert lines[-1] == "and 7 more classes of 'test' that no training row has"


def test_a_held_out_set_without_classes_has_none_that_are_unknown() -> None:
    assert require_known_classes(HeldOutRows("sts", "text", ["a"], [], None), ()) is None
