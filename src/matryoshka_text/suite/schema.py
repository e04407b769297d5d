"""What a suite may say. Frozen and strict: an unknown key is an error that names its place."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from matryoshka_text.rows import Method, Precision

__all__ = ["Suite", "TaskEntry"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TaskEntry(_Section):
    """One task: a task of mteb, a retrieval folder in BEIR layout or a text to mask; exactly one of the three."""

    task: str | None = Field(default=None, min_length=1, description="a task of mteb")
    retrieval: str | None = Field(default=None, min_length=1, description="a folder in BEIR layout")
    masked_text: str | None = Field(default=None, description="a .txt or .txt.gz file, UTF-8, one text a line")
    split: str | None = Field(default=None, min_length=1, description="null: the split(s) mteb scores; test for BEIR")
    called: str | None = Field(default=None, min_length=1, alias="name", description="null: the file's name")
    share: float = Field(default=0.15, gt=0, lt=1, description="of the tokens that are masked and have to be found")
    max_length: int = Field(default=128, ge=3, description="tokens of a sequence; the texts are packed into such")
    seed: int = Field(default=0, ge=0, description="decides which tokens are masked")

    @field_validator("masked_text")
    @classmethod
    def _text_file(cls, name: str | None) -> str | None:
        if name is not None and not name.endswith((".txt", ".txt.gz")):
            raise ValueError(f"found {name!r}; allowed: a file that ends in .txt or .txt.gz")
        return name

    @model_validator(mode="after")
    def _exactly_one(self) -> "TaskEntry":
        if [self.task, self.retrieval, self.masked_text].count(None) != 2:
            raise ValueError(
                "give exactly one of `task` (a task of mteb), `retrieval` (a folder in BEIR layout) "
                "and `masked_text` (a .txt or .txt.gz file, one text a line)"
            )
        return self

    @model_validator(mode="after")
    def _options_of_its_kind(self) -> "TaskEntry":
        of_text = ("called", "share", "max_length", "seed")
        foreign = ("split",) if self.masked_text is not None else of_text
        found = ["name" if field == "called" else field for field in foreign if field in self.model_fields_set]
        if found and self.masked_text is not None:
            raise ValueError("found split; allowed beside masked_text: name, share, max_length, seed")
        if found:
            raise ValueError(f"found {', '.join(found)}, for masked_text alone; allowed here: task, retrieval, split")
        return self

    @property
    def name(self) -> str:
        """What the results call it: mteb's own name, the folder's, or the text's."""
        if self.masked_text is not None:
            return self.called or Path(self.masked_text).name.removesuffix(".gz").removesuffix(".txt")
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
    layers: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(
        default=None, description="the first so many layers are run, once for each number; null: all layers"
    )
    precisions: tuple[Precision, ...] = Field(
        default=("float32",), description="of the stored vectors: float32, int8 (calibrated on the sample), binary"
    )
    baselines: tuple[Method, ...] = Field(
        default=(), description="other ways to m coordinates: random, pca, svd (fitted on the sample), projection"
    )
    draws: int = Field(default=3, ge=1, description="random and projection: how many seeds, from `seed` upwards")
    sample: str | None = Field(
        default=None,
        description="a .txt or .txt.gz file of texts for pca, svd and int8; null: texts bundled for training",
    )
    prompts: dict[str, str] = Field(
        default_factory=dict,
        description="put before texts, by task, task type, query or document; over the model's own",
    )
    seed: int = Field(default=0, ge=0, description="decides draws, the sample and bootstrap intervals")
    tasks: tuple[TaskEntry, ...]
    folder: Path = Field(default=Path(), exclude=True, description="where relative paths start; set by load_suite")

    @field_validator("dims", "tasks", "layers", "precisions", "baselines", mode="before")
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
