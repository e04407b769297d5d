"""What stands beside a folder of committed rows: where they came from."""

from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from matryoshka_text.errors import RecipeError
from matryoshka_text.rows import Method, Precision, Row

__all__ = ["Baselines", "Compared", "Record", "Weights", "read_record"]

Weights = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """How the rows of a folder were made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    commit: str = Field(description="of the code that trained, or, where nothing was, that evaluated")
    command: str
    note: str


class Compared(BaseModel):
    """One column of the tables: a model, or its trainings of several seeds, seen in one way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    weights: tuple[Weights, ...] = Field(min_length=1, description="several: trainings of one model, shown as a mean")
    method: Method = "first"
    precision: Precision = "float32"
    layers: int | None = None

    def holds(self, row: Row) -> bool:
        """Whether the row is one of this column's; of a method that draws there is one for each seed."""
        seen = (row.method, row.precision, row.layers) == (self.method, self.precision, self.layers)
        return seen and row.weights in self.weights


class Baselines(Record):
    """baselines.yaml: models and baselines side by side; the first column is what the others are compared with."""

    recipe: str | None = Field(default=None, description="that trained one of the columns; null: nothing was trained")
    columns: tuple[Compared, ...] = Field(min_length=2)

    @field_validator("columns")
    @classmethod
    def _different(cls, columns: tuple[Compared, ...]) -> tuple[Compared, ...]:
        labels = [column.label for column in columns]
        if len(set(labels)) < len(labels):
            raise ValueError(f"found labels {labels}; allowed: a different one for each column")
        return columns


def read_record(path: Path, kind: type[R]) -> R:
    """The record in the YAML file `path`; `RecipeError` where it is none."""
    try:
        return kind.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, ValidationError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
