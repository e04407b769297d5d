"""Examples of one stream."""

import numpy as np

from matryoshka_text.data import Demands, Part, SourceRows, assembled
from matryoshka_text.recipe import Source
from tests.builders import source_rows


def part(index: int, kind: str, rows: SourceRows) -> Part:
    return Part(index, Source.model_validate({"name": f"s{index}", "file": "x.csv", "kind": kind}), rows)


def test_rows_keep_their_numbers_sources_and_places() -> None:
    first = part(0, "pairs", source_rows("one.csv", [("a", "b"), ("c", "d")], [2, 9]))
    second = part(4, "triplets", source_rows("two.csv", [("e", "f")], [3]))
    found = assembled([first, second])
    assert (len(found), found.names, found.labels) == (3, ("s0", "s4"), ("one.csv", "two.csv"))
    assert found.numbers.tolist() == [2, 9, 3]
    assert [found.place(row) for row in range(3)] == ["one.csv:2", "one.csv:9", "two.csv:3"]


def test_classes_that_no_row_has_are_not_among_the_seen() -> None:
    rows = source_rows("l.csv", [("a",), ("b",), ("c",)], [1, 2, 3], values=["2", "0", "2"])
    found = assembled([part(0, "labelled", rows)], Demands(classes=4))
    assert found.classes == ("0", "1", "2", "3")
    assert found.seen_classes == ("0", "2")
    np.testing.assert_array_equal(found.values, [2, 0, 2])
