"""What a suite may say. Frozen and strict: an unknown key is an error that names its place."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, get_args

from pydantic import Field, field_validator

from matryoshka_text.dims import check_dims
from matryoshka_text.rows import BASELINES, Method, Precision
from matryoshka_text.suite.entry import Section, TaskEntry

__all__ = ["Suite", "TaskEntry"]


class Suite(Section):
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
    layers: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(
        default=None, description="the first so many layers are run, once for each number; null: all layers"
    )
    precisions: tuple[Precision, ...] = Field(
        default=("float32",), description="of the stored vectors: float32, int8 (calibrated on the sample), binary"
    )
    baselines: tuple[Method, ...] = Field(
        default=(),
        description="other ways to m coordinates: random, pca, svd (fitted on the sample), projection, "
        "rotation (fitted on each task's own documents)",
    )
    draws: int = Field(
        default=3, ge=1, le=1000, description="random and projection: how many seeds, from `seed` upwards"
    )
    sample: str | None = Field(
        default=None,
        description="a .txt or .txt.gz file of texts for pca, svd and int8; null: texts bundled for training",
    )
    prompts: dict[str, str] = Field(
        default_factory=dict,
        description="put before texts, by task, task type, query or document; over the model's own",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="decides draws, the sample and bootstrap intervals")
    tasks: tuple[TaskEntry, ...]
    folder: Path = Field(default=Path(), exclude=True, description="where relative paths start; set by load_suite")
    given: str | None = Field(default=None, exclude=True, description="what names it on the command line")
    places: tuple[str, ...] = Field(default=(), exclude=True, description="file and line of each task; of load_suite")

    @field_validator("dims", "tasks", "layers", "precisions", "baselines", mode="before")
    @classmethod
    def _yaml_lists(cls, value: object) -> object:
        # YAML has lists only, and strict mode takes no list for a tuple.
        return tuple(value) if isinstance(value, list) else value

    @field_validator("dims")
    @classmethod
    def _increasing(cls, dims: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if dims is None else check_dims(dims)

    @field_validator("layers")
    @classmethod
    def _distinct_layers(cls, layers: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if layers is not None and (not layers or any(b <= a for a, b in pairwise(layers))):
            raise ValueError(
                f"found {list(layers)}; allowed: strictly increasing counts of layers; null for all layers"
            )
        return layers

    @field_validator("precisions")
    @classmethod
    def _with_float32(cls, precisions: tuple[Precision, ...]) -> tuple[Precision, ...]:
        if "float32" not in precisions or len(set(precisions)) < len(precisions):
            allowed = f"different ones of {', '.join(get_args(Precision))}, float32 among them"
            raise ValueError(f"found {list(precisions)}; allowed: {allowed}: it is what the others are compared with")
        return precisions

    @field_validator("baselines")
    @classmethod
    def _distinct_baselines(cls, baselines: tuple[Method, ...]) -> tuple[Method, ...]:
        if not set(baselines) <= set(BASELINES) or len(set(baselines)) < len(baselines):
            others = ", ".join(BASELINES)
            raise ValueError(f"found {list(baselines)}; allowed: different ones of {others}; `first` is always scored")
        return baselines

    @field_validator("sample")
    @classmethod
    def _text_file(cls, name: str | None) -> str | None:
        if name is not None and not name.endswith((".txt", ".txt.gz")):
            raise ValueError(f"found {name!r}; allowed: a file that ends in .txt or .txt.gz, one text a line")
        return name

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

    def place(self, index: int) -> str:
        """Where the task of that number stands: suites/x.yaml:12: tasks[3], for a message."""
        return f"{self.places[index] if index < len(self.places) else f'suite {self.name}'}: tasks[{index}]"
