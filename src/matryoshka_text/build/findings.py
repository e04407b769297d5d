"""What a check finds out about a recipe: problems, and what it could not look at."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from matryoshka_text.errors import DataError
from matryoshka_text.objectives import KINDS, Objective
from matryoshka_text.recipe import Reading
from matryoshka_text.section import Loc, Section, value_of

__all__ = ["Findings", "valid", "valid_objective"]

S = TypeVar("S", bound=Section)


@dataclass
class Findings:
    """One line per problem, and notes on what could not be looked at from here."""

    reading: Reading
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def values(self) -> dict[str, Any]:
        """The recipe by key, as it was written; empty if it is not a mapping."""
        values = self.reading.document.value
        return values if isinstance(values, dict) else {}

    @property
    def seed(self) -> int:
        """The recipe's seed; 0 if it is not one."""
        given = self.values.get("seed", 0)
        return given if type(given) is int and 0 <= given < 2**32 else 0

    def problem(self, loc: Loc, text: str) -> None:
        """Record a problem at a key of the recipe."""
        self.problems.append(f"{self.reading.place(loc)}: {text}")

    def note(self, loc: Loc, text: str) -> None:
        """Record what was not looked at, and why."""
        self.notes.append(f"{self.reading.place(loc)}: note: {text}")

    def of_data(self, error: DataError) -> None:
        """Record each line of `error`; one that begins with a key of the recipe gets the key's file and line."""
        self.problems += self.reading.placed(str(error)).splitlines()


def valid(section: type[S], values: Any) -> S | None:
    """The section with these values; None if they are wrong, which the reading's problems tell."""
    try:
        return section.model_validate(values)
    except ValidationError:
        return None


def valid_objective(values: Any) -> Objective | None:
    """The objective with these values; None if its kind is unknown or they are wrong."""
    kind = KINDS.get(str(value_of(values, "kind")))
    return valid(kind, values) if kind is not None else None
