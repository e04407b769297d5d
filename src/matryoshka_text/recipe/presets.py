"""Dims by a word instead of a list."""

__all__ = ["log_dims"]

# A smaller prefix of a halved width says little: below 8 dims nested vectors are unstable (arXiv:2205.13147).
_SMALLEST_DIM = 8


def log_dims(width: int) -> tuple[int, ...]:
    """Halvings of the width, down to 8 at least: 12, 24, 48, 96, 192, 384 for 384 (arXiv:2205.13147: log-spaced).

    A width that cannot be halved to whole numbers of at least 8 gives itself alone.
    """
    if width < 1:
        raise ValueError(f"width: found {width}; allowed: at least 1")
    dims = [width]
    while dims[-1] % 2 == 0 and dims[-1] // 2 >= _SMALLEST_DIM:
        dims.append(dims[-1] // 2)
    return tuple(reversed(dims))
