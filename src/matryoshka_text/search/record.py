"""index.json: what an index is, and which files belong to it. It is replaced last, so a kill leaves the old index."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Int64
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from matryoshka_text.errors import RunError
from matryoshka_text.records import read_record, write_record
from matryoshka_text.search.plan import Plan

__all__ = ["FILE", "IndexRecord", "Origin", "next_record", "read_index", "read_rows", "write_index"]

FILE = "index.json"
Share = Annotated[float, Field(ge=0, le=1)]


class Origin(BaseModel):
    """The model that made the vectors: queries have to be encoded by the same one, in the same way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="as it was named")
    weights: str = Field(description="sha256 over the model's weights and configuration")
    dim: int = Field(gt=0, description="prefix length that was encoded")
    layers: int | None = None


class IndexRecord(BaseModel):
    """Everything about an index but its vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=1, ge=1, le=1)
    origin: Origin | None
    width: int = Field(gt=0)
    dims: tuple[int, ...]
    segments: dict[str, Annotated[int, Field(gt=0)]] = Field(description="rows by folder, in order")
    rotated: bool
    normalized: bool = Field(description="rows of another length than 1 were divided by it")
    kept: dict[int, Share] = Field(default_factory=dict, description="share of 10 neighbours kept by dim, when built")
    structures: dict[str, str] = Field(default_factory=dict, description="file by structure")
    deleted: str | None = Field(default=None, description="file with the numbers of deleted rows")
    plan: Plan | None = None
    seed: int = 0
    generation: int = Field(default=0, ge=0, description="counts the changes of this index")
    written: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


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


def read_rows(path: Path) -> Int64[np.ndarray, " n"]:
    """The numbers of rows in a file; `RunError` if it cannot be read."""
    try:
        found: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{path}: cannot be read ({error}); build the index again") from error
    return found
