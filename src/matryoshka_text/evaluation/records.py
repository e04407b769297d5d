"""What stands beside a folder of committed rows: where they came from."""

from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matryoshka_text.errors import RecipeError

__all__ = ["Record", "Weights", "read_record"]

Weights = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """How the rows of a folder were made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    recipe: str
    commit: str = Field(description="of the code that trained")
    command: str
    note: str


def read_record(path: Path, kind: type[R]) -> R:
    """The record in the YAML file `path`; `RecipeError` where it is none."""
    try:
        return kind.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, ValidationError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
