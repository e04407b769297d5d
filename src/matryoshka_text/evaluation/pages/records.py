"""What stands beside a folder of committed rows: where they came from."""

from pathlib import Path
from typing import Annotated, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

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

    label: str = Field(description="heads the column: a word or two")
    about: str = Field(default="", description="what the label stands for, told above the tables")
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
    front: tuple[str, ...] = Field(default=(), description="titles of the tables (tasks) that the README's table shows")
    front_column: str | None = Field(default=None, description="label of the column that the README's table shows")

    @field_validator("columns")
    @classmethod
    def _different(cls, columns: tuple[Compared, ...]) -> tuple[Compared, ...]:
        labels = [column.label for column in columns]
        if len(set(labels)) < len(labels):
            raise ValueError(f"found labels {labels}; allowed: a different one for each column")
        return columns

    @model_validator(mode="after")
    def _whole_front(self) -> Self:
        others = [column.label for column in self.columns[1:]]
        if self.front and self.front_column not in others:
            raise ValueError(f"front_column: found {self.front_column!r}; allowed beside `front`: one of {others}")
        if self.front_column is not None and not self.front:
            raise ValueError("front: found nothing beside front_column; allowed: the tasks of the README's table")
        return self


def read_record(path: Path, kind: type[R]) -> R:
    """The record in the YAML file `path`; `RecipeError` where it is none."""
    try:
        return kind.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, ValidationError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
