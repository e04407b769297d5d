"""index.json: what an index is, and which files belong to it. It is replaced last, so a kill leaves the old index."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Int64
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from matryoshka_text.arrays import open_array
from matryoshka_text.errors import RunError
from matryoshka_text.files import held, sweep, whole_folder
from matryoshka_text.records import read_record, write_record
from matryoshka_text.search.plan import Plan

__all__ = [
    "FILE",
    "IndexRecord",
    "Origin",
    "next_record",
    "read_index",
    "read_rows",
    "whole_index",
    "write_index",
    "writing",
]

FILE = "index.json"
Share = Annotated[float, Field(ge=0, le=1)]
# A file or folder in the index's own.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$")]


class Origin(BaseModel):
    """The model that made the vectors: queries have to be encoded by the same one, in the same way."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str = Field(description="as it was named")
    weights: str = Field(description="sha256 over the model's weights and configuration")
    dim: int = Field(gt=0, description="prefix length that was encoded")
    layers: int | None = Field(default=None, gt=0)


class IndexRecord(BaseModel):
    """Everything about an index but its vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int = Field(default=1, ge=1, le=1)
    origin: Origin | None
    width: int = Field(gt=0, le=10**6)
    dims: tuple[int, ...]
    segments: dict[Name, Annotated[int, Field(gt=0)]] = Field(min_length=1, description="rows by folder, in order")
    rotated: bool
    normalized: bool = Field(description="rows of another length than 1 were divided by it")
    kept: dict[int, Share] = Field(default_factory=dict, description="share of 10 neighbours kept by dim, when built")
    structures: dict[Name, Name] = Field(default_factory=dict, description="file by structure")
    deleted: Name | None = Field(default=None, description="file with the numbers of deleted rows")
    plan: Plan | None = None
    seed: int = 0
    generation: int = Field(default=0, ge=0, description="counts the changes of this index")
    written: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    @model_validator(mode="after")
    def _agrees(self) -> "IndexRecord":
        """Numbers that follow from each other do so."""
        if self.dims != tuple(sorted({*self.dims, self.width})) or self.dims[0] < 1 or self.dims[-1] != self.width:
            raise ValueError(f"dims {list(self.dims)} are not increasing numbers up to the width {self.width}")
        if self.kept and set(self.kept) != set(self.dims):
            raise ValueError(f"kept is of the dims {list(self.kept)}, not of {list(self.dims)}")
        if self.plan is not None and self.plan.width != self.width:
            raise ValueError(f"plan ends at {self.plan.width} dims, not at the width {self.width}")
        return self


def read_index(folder: Path) -> IndexRecord:
    """The record in `folder`; `RunError` for another folder, or a record that cannot be read."""
    return read_record(folder / FILE, IndexRecord, "mtext index")


def write_index(folder: Path, record: IndexRecord) -> None:
    """Put index.json in place, whole."""
    write_record(folder / FILE, record)


def next_record(record: IndexRecord, **changes: Any) -> IndexRecord:
    """The record after a change."""
    later = {"generation": record.generation + 1, "written": datetime.now(UTC)}
    return record.model_copy(update={**changes, **later})


def read_rows(path: Path, rows: int) -> Int64[np.ndarray, " n"]:
    """The sorted numbers in a file of some of `rows` rows; `RunError` if it cannot be read."""
    try:
        found = open_array(path)
        if (
            found.ndim != 1
            or found.dtype != np.int64
            or (np.diff(found, prepend=-1) < 1).any()
            or (found >= rows).any()
        ):
            raise ValueError("it does not hold the numbers of rows, sorted")
    except ValueError as error:
        raise RunError(f"{path}: cannot be read ({error}); build the index again") from error
    return np.array(found)


def writing(folder: Path) -> AbstractContextManager[None]:
    """The index in `folder`, locked against other programs that write it."""
    return held(folder, doing="writing this index", replaced=True)


@contextmanager
def whole_index(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder`; `RunError` if that is there and is no index."""
    with writing(folder):
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / FILE).is_file())):
            raise RunError(f"{folder}: is there already and is no index; give another place with --out")
        sweep(folder.resolve().parent, f".{folder.resolve().name}.*.part")
        with whole_folder(folder) as made:
            yield made
