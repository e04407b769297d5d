"""The one exception tree of the toolkit.

    MtextError                    what the user can put right; the command line prints the message and exits with 2
    ├── RecipeError (ValueError)  a recipe or suite that cannot be run as it stands
    ├── DataError (ValueError)    a missing file, column, row or cell
    ├── ModelError (ValueError)   a model that cannot be found, opened or used here
    ├── RunError (RuntimeError)   a run folder in the way, of another recipe, or on a full disk
    ├── TrainingError (RuntimeError)  training that stopped by itself: a loss that is NaN or infinite
    ├── EvaluationError (RuntimeError)  an evaluation that could not be finished
    └── ExtraMissing (ImportError)    an optional dependency that is not installed

Every message names the place, what was found, what is allowed and the way out. Any other exception is a bug: the
command line shows its traceback with a request to report it, and exits with 1.
"""

from typing import Any

__all__ = [
    "DataError",
    "EvaluationError",
    "ExtraMissing",
    "ModelError",
    "MtextError",
    "RecipeError",
    "RunError",
    "TrainingError",
    "bounded",
    "shown",
]


# What a message may hold, whatever was found: a label of 5,000 digits, 100,000 unknown keys, a header of megabytes.
_MOST_LINES = 100
_LONGEST_LINE = 2000


class MtextError(Exception):
    """Something a user can put right. Its message is `bounded`."""

    def __init__(self, message: str = "") -> None:
        super().__init__(bounded(message))


class RecipeError(MtextError, ValueError):
    """A recipe or a suite that cannot be run as it stands."""


class DataError(MtextError, ValueError):
    """A file, column, row or cell that is missing or of the wrong kind."""


class ModelError(MtextError, ValueError):
    """A model that cannot be found, opened or used for this."""


class RunError(MtextError, RuntimeError):
    """A run folder that is in the way, belongs to another recipe, or cannot be written."""


class TrainingError(MtextError, RuntimeError):
    """Training that had to stop: the last good checkpoint is kept."""


class EvaluationError(MtextError, RuntimeError):
    """An evaluation that could not be finished."""


class ExtraMissing(MtextError, ImportError):
    """An optional dependency that is not installed."""


def bounded(message: str) -> str:
    """The first 100 lines of a message and how many more there are; of a line above 2,000 characters both ends."""
    lines = message.split("\n", _MOST_LINES)
    if len(lines) > _MOST_LINES:
        lines[-1] = f"and {lines[-1].count(chr(10)) + 1:,} more lines"
    keep = _LONGEST_LINE // 2
    return "\n".join(
        line if len(line) <= _LONGEST_LINE else f"{line[:keep]} … ({len(line):,} characters) … {line[-keep:]}"
        for line in lines
    )


def shown(value: Any, limit: int = 60) -> str:
    """`value` in a message: short, and on one line."""
    if isinstance(value, dict):
        text = f"a section with {', '.join(map(str, value)) or 'nothing'}"
    else:
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
