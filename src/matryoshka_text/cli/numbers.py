"""Numbers with commas between them, as options give them."""

import re

from matryoshka_text.errors import RecipeError, shown

__all__ = ["numbers"]

# int() also takes 1_0, and digits of other scripts.
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")


def numbers(given: str | None, option: str) -> tuple[int, ...] | None:
    """12,24,384 as a tuple; None for an option that is not given; `RecipeError` for anything else."""
    if given is None:
        return None
    parts = [part.strip() for part in given.split(",")]
    if not all(_WHOLE.fullmatch(part) for part in parts):
        allowed = "whole numbers and commas, such as 12,24,384, with at most nine digits each"
        raise RecipeError(f"{option}: found {shown(given)}; allowed: {allowed}")
    return tuple(map(int, parts))
