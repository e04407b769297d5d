"""Numbers with commas between them, as options give them."""

from matryoshka_text.errors import RecipeError

__all__ = ["numbers"]


def numbers(given: str | None, option: str) -> tuple[int, ...] | None:
    """12,24,384 as a tuple; None for an option that is not given; `RecipeError` for anything else."""
    if given is None:
        return None
    try:
        return tuple(int(part) for part in given.split(","))
    except ValueError:
        raise RecipeError(f"{option}: found {given!r}; allowed: whole numbers and commas, such as 12,24,384") from None
