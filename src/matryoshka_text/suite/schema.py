"""What a suite may say. Frozen and strict: an unknown key is an error that names its place."""

from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["Suite", "TaskEntry"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TaskEntry(_Section):
    """One task: `task` names a task of mteb, `retrieval` a folder in BEIR layout; exactly one of the two."""

    task: str | None = Field(default=None, min_length=1)
    retrieval: str | None = Field(default=None, min_length=1)
    split: str | None = Field(default=None, min_length=1, description="null: the split(s) mteb scores; test for BEIR")

    @model_validator(mode="after")
    def _exactly_one(self) -> "TaskEntry":
        if (self.task is None) == (self.retrieval is None):
            raise ValueError("give exactly one of `task` (a task of mteb) and `retrieval` (a folder in BEIR layout)")
        return self

    @property
    def name(self) -> str:
        """What the results call it: mteb's own name, or the folder's."""
        return self.task or Path(str(self.retrieval)).name


class Suite(_Section):
    """A list of tasks, with where their data are and how vectors are cut."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    description: str = ""
    data: str | None = Field(
        default=None,
        description="`bundled`, or a folder relative to the suite's file; null: the data root given, or the hub",
    )
    dims: tuple[int, ...] | None = Field(
        default=None, description="null: what the model's config names, or halvings of the width"
    )
    normalize: bool = Field(
        default=True, description="bring each prefix back to length 1 before scoring, as servers do"
    )
    tasks: tuple[TaskEntry, ...]
    folder: Path = Field(default=Path(), exclude=True, description="where relative paths start; set by load_suite")

    @field_validator("dims", "tasks", mode="before")
    @classmethod
    def _yaml_lists(cls, value: object) -> object:
        # YAML has lists only, and strict mode takes no list for a tuple.
        return tuple(value) if isinstance(value, list) else value

    @field_validator("dims")
    @classmethod
    def _increasing(cls, dims: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if dims is not None and (not dims or dims[0] < 1 or any(b <= a for a, b in pairwise(dims))):
            raise ValueError(f"found {list(dims)}; allowed: strictly increasing prefix lengths, the first at least 1")
        return dims

    @field_validator("tasks")
    @classmethod
    def _some_and_distinct(cls, tasks: tuple[TaskEntry, ...]) -> tuple[TaskEntry, ...]:
        if not tasks:
            raise ValueError("found []; allowed: at least one task")
        names = [(entry.name, entry.split) for entry in tasks]
        doubled = sorted({name for name, split in names if names.count((name, split)) > 1})
        if doubled:
            raise ValueError(f"{', '.join(doubled)} occurs twice; name each task and split once")
        return tasks
