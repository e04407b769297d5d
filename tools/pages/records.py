"""What stands next to a folder of committed rows: where they came from."""

from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from matryoshka_text.errors import RecipeError
from matryoshka_text.rows import ON_CORPUS, Method, Precision, Row

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
    rotation: str | None = Field(default=None, description="digest of the rows' rotation; null: whichever they have")
    fitted_on_corpus: bool = Field(
        default=False, description="on each task's own documents, as method `rotation` always is; the label says so"
    )

    @model_validator(mode="before")
    @classmethod
    def _marked(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not (given.get("fitted_on_corpus") or given.get("method") == "rotation"):
            return given
        label = str(given.get("label", "")).removesuffix(ON_CORPUS)
        return {**given, "label": label + ON_CORPUS, "fitted_on_corpus": True}

    def called(self, name: str) -> bool:
        """Whether that is its label, with or without the mark of what is fitted on the corpus."""
        return name in (self.label, self.label.removesuffix(ON_CORPUS))

    def holds(self, row: Row) -> bool:
        """Whether the row is one of this column's; of a method that draws there is one for each seed."""
        seen = (row.method, row.precision, row.layers) == (self.method, self.precision, self.layers)
        return seen and self.rotation in (None, row.rotation) and row.weights in self.weights


class Baselines(Record):
    """baselines.yaml: models and baselines side by side; the first column is what the others are compared with."""

    recipe: str | None = Field(default=None, description="that trained one of the columns; null: nothing was trained")
    columns: tuple[Compared, ...] = Field(min_length=2)
    front: tuple[str, ...] = Field(default=(), description="titles of the tables (tasks) that the README's table shows")
    front_column: str | None = Field(default=None, description="label of the column that the README's table shows")
    front_kinds: tuple[str, ...] = Field(
        default=(), description="or: labels of the columns whose means over kinds of task the README's table shows"
    )
    front_corpus: str | None = Field(
        default=None,
        description="next to front_kinds: a task shown with the column that is fitted on its own documents",
    )

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
        if self.front and not any(column.called(self.front_column or "") for column in self.columns[1:]):
            raise ValueError(f"front_column: found {self.front_column!r}; allowed with `front`: one of {others}")
        if self.front_column is not None and not self.front:
            raise ValueError("front: found nothing with front_column; allowed: the tasks of the README's table")
        return self

    @model_validator(mode="after")
    def _known_kinds(self) -> Self:
        if not self.front_kinds:
            return self
        if self.front:
            raise ValueError(
                "front_kinds: found together with `front`; allowed: one of them, for the README's one table"
            )
        labels = [column.label for column in self.columns]
        known = [name for name in self.front_kinds if any(column.called(name) for column in self.columns)]
        if len(known) < len(self.front_kinds) or len(set(known)) < max(2, len(known)):
            raise ValueError(
                f"front_kinds: found {list(self.front_kinds)}; allowed: at least two different of {labels}"
            )
        return self

    @model_validator(mode="after")
    def _known_corpus(self) -> Self:
        if self.front_corpus is not None and not (self.front_kinds and self.on_corpus):
            raise ValueError(
                f"front_corpus: found {self.front_corpus!r}; allowed next to front_kinds, where a column is fitted on "
                "the corpus; add them, or remove it"
            )
        return self

    @property
    def on_corpus(self) -> Compared | None:
        """The first column that is fitted on each task's own documents."""
        return next((column for column in self.columns if column.fitted_on_corpus), None)

    def column(self, name: str) -> Compared:
        """The column with that label, with or without its mark."""
        return next(column for column in self.columns if column.called(name))


def read_record(path: Path, kind: type[R]) -> R:
    """The record in the YAML file `path`; `RecipeError` if it is none."""
    try:
        return kind.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, ValidationError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
