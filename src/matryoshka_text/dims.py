"""The one check of prefix lengths: whole numbers, strictly increasing, none above the width."""

import operator
from collections.abc import Iterator, Sequence

__all__ = ["check_dims", "log_dims", "out_of_order"]

# A smaller prefix of a halved width says little: below 8 dims nested vectors are unstable (arXiv:2205.13147).
_SMALLEST_DIM = 8


def out_of_order(dims: Sequence[object]) -> Iterator[tuple[int, int, int]]:
    """(place, dim, the one before) for each of `dims` that is not above the one before; only numbers are compared."""
    before: int | None = None
    for place, dim in enumerate(dims):
        number = _number(dim)
        if number is not None and before is not None and number <= before:
            yield place, number, before
        before = number


def check_dims(dims: Sequence[object], width: int | None = None) -> tuple[int, ...]:
    """`dims` as plain integers; ValueError unless they increase strictly within 1..`width` (None: no upper limit)."""
    found = tuple(dims)
    most = "integers of at least 1" if width is None else f"integers from 1 to {width}"
    allowed = f"allowed are {most}, each above the one before"
    if not found:
        raise ValueError(f"dims is empty; {allowed}")
    numbers: list[int] = []
    for place, dim in enumerate(found):
        number = _number(dim)
        if number is None:
            raise ValueError(f"dims[{place}] is {dim!r}, no integer; {allowed}")
        if number < 1 or (width is not None and number > width):
            raise ValueError(f"dims[{place}] is {dim} in dims {found}; {allowed}")
        numbers.append(number)
    for place, dim, _ in out_of_order(numbers):
        raise ValueError(f"dims[{place}] is {dim} in dims {found}; {allowed}")
    return tuple(numbers)


def log_dims(width: int) -> tuple[int, ...]:
    """Halvings of the width, down to 8 at least: 12, 24, 48, 96, 192, 384 for 384 (arXiv:2205.13147: log-spaced).

    A width that cannot be halved to whole numbers of at least 8 gives only itself.
    """
    if width < 1:
        raise ValueError(f"width: found {width}; allowed: at least 1")
    dims = [width]
    while dims[-1] % 2 == 0 and dims[-1] // 2 >= _SMALLEST_DIM:
        dims.append(dims[-1] // 2)
    return tuple(reversed(dims))


def _number(dim: object) -> int | None:
    """`dim` as an int, numpy's integers too; None if it is not a whole number."""
    return operator.index(dim) if hasattr(dim, "__index__") and not isinstance(dim, bool) else None
