"""What a rotation needs: dims below the width, and enough different texts."""

from collections.abc import Mapping, Sequence

from matryoshka_text.dims import check_dims, log_dims
from matryoshka_text.errors import DataError
from matryoshka_text.rotation import FitSettings

__all__ = ["HELD_BACK", "chosen_dims", "require_enough", "require_split"]

# The share of each source's texts that is not learned from: it picks the best step and fills the table.
HELD_BACK = 0.1


def chosen_dims(given: Sequence[int] | None, trained: Sequence[int], width: int) -> tuple[int, ...]:
    """`given`, else the `trained` dims if some are below the width, else halvings of the width; the width is the last.

    `DataError` if none is below the width, or if they are not increasing dims of at most the width.
    """
    smaller = any(dim < width for dim in trained)
    dims = tuple(given) if given is not None else tuple(trained) if smaller else log_dims(width)
    try:
        dims = check_dims(dims, width)
    except ValueError as error:
        raise DataError(f"--dims: {error}; the vectors have {width} dims") from error
    if dims[0] == width:
        raise DataError(
            f"--dims: found {width} only, the full width, which has all its neighbours; allowed: at least one smaller "
            "dim; name some with --dims"
        )
    return dims if dims[-1] == width else (*dims, width)


def require_split(split: int) -> None:
    """`DataError` unless a file can be divided into that many sources."""
    if split < 1:
        raise DataError(f"--split: found {split}; allowed: a whole number from 1 (1: each file is one source)")


def require_enough(different: Mapping[str, int], width: int, settings: FitSettings, *, what: str = "texts") -> None:
    """`DataError` if there are too few `different` texts for this width, or too few in one source."""
    total = sum(different.values())
    if total < 2 * width:
        found = f"{total:,} different {what if total != 1 else what.removesuffix('s')}"
        raise DataError(
            f"{', '.join(different)}: found {found} in all; allowed: at least {2 * width:,}, twice "
            f"the {width} dims of the vectors; add {what}, or raise --most if it left some out"
        )
    for name, count in different.items():
        learned = count - int(HELD_BACK * count)
        if learned <= settings.neighbours + 1:
            raise DataError(
                f"{name}: found {count:,} different {what}, {learned:,} of them to learn from; allowed: more than "
                f"{settings.neighbours + 1}, a neighbourhood of --neighbours {settings.neighbours}; add {what}, or "
                "leave it out"
            )
