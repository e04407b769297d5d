"""What a check finds out about a recipe: problems, and what it could not look at."""

import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from matryoshka_text.errors import DataError
from matryoshka_text.recipe import Reading
from matryoshka_text.recipe.wording import loc_of
from matryoshka_text.section import Loc, Section, value_of

__all__ = ["Findings", "items_of", "valid"]

S = TypeVar("S", bound=Section)

# A key of the recipe, not a file that is called data.csv.
_KEY = re.compile(
    r"((?:rotation\.)?data\[\d+\]|evaluation\.data\[\d+\]|objectives\[\d+\]|batch|rotation)(\.[a-z_0-9]+|\[\d+\])*"
)


@dataclass
class Findings:
    """One line per problem, and notes on what could not be looked at from here."""

    reading: Reading
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, loc: Loc, text: str) -> None:
        """Record a problem at a key of the recipe."""
        self.problems.append(f"{self.reading.place(loc)}: {text}")

    def note(self, loc: Loc, text: str) -> None:
        """Record what was not looked at, and why."""
        self.notes.append(f"{self.reading.place(loc)}: note: {text}")

    def of_data(self, error: DataError) -> None:
        """Record each line of `error`; one that begins with a key of the recipe gets the key's file and line."""
        for line in str(error).splitlines():
            key, _, text = line.partition(": ")
            if _KEY.fullmatch(key):
                self.problem(loc_of(key), text)
            else:
                self.problems.append(line)


def valid(section: type[S], values: Any) -> S | None:
    """The section with these values; None where they are wrong, which the reading's problems tell."""
    try:
        return section.model_validate(values)
    except ValidationError:
        return None


def items_of(values: Any, key: str) -> list[Any]:
    """The list under `key` of a raw recipe; empty where there is none."""
    items = value_of(values, key) if values is not None else None
    return items if isinstance(items, list) else []
