"""Numbers with commas between them."""

import pytest

from matryoshka_text.cli.numbers import numbers
from matryoshka_text.errors import RecipeError


def test_whole_numbers_and_commas() -> None:
    assert numbers("12,24, 384", "--dims") == (12, 24, 384)
    assert numbers("-1", "--layers") == (-1,)
    assert numbers(None, "--dims") is None


@pytest.mark.parametrize("given", ["", "12,", "1_0", "٣", "12;24", "1.5", "9" * 5000])
def test_anything_else_is_told(given: str) -> None:
    with pytest.raises(RecipeError, match=r"--dims: found .*; allowed: whole numbers and commas, such as"):
        numbers(given, "--dims")
