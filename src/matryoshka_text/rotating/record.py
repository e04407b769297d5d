"""rotation.json: what a rotation was learned from and how, and what came of it. It decides whether a run goes on."""

from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from matryoshka_text.errors import RunError
from matryoshka_text.files import write_whole

__all__ = ["FILE", "KeptRecord", "Record", "SourceRecord", "read_record", "require_same", "write_record"]

FILE = "rotation.json"


class SourceRecord(BaseModel):
    """A source; `file` and `columns` are empty for texts that were given in memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    file: str | None
    columns: tuple[str, ...]
    sha256: str = Field(description="of the file, or over the texts")
    read: int = Field(description="texts in it")
    blank: int = Field(description="of these, blank ones")
    used: int = Field(description="different texts that were drawn")


class KeptRecord(BaseModel):
    """By dim, the share (0 to 1) of the 10 nearest neighbours at full width that the prefix keeps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    rows: int
    asked: int
    before: dict[int, float]
    after: dict[int, float]


class Record(BaseModel):
    """Everything in rotation.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="as it was named")
    weights: str = Field(description="sha256 over the model's weights and configuration")
    width: int
    dims: tuple[int, ...]
    sources: tuple[SourceRecord, ...]
    most: int = Field(description="texts of a source at most")
    max_characters: int
    split: int = Field(description="sources that each file was divided into")
    held_back: float = Field(description="share of the texts that was not learned from")
    dtype: Literal["float32", "bf16"]
    prompt: str | None
    fit: dict[str, Any]
    environment: dict[str, Any]
    started: AwareDatetime
    finished: AwareDatetime | None = None
    checks: tuple[dict[str, Any], ...] = ()
    kept: tuple[KeptRecord, ...] = ()


def write_record(folder: Path, record: Record) -> None:
    """Put rotation.json in place, whole."""
    write_whole(folder / FILE, record.model_dump_json(indent=2) + "\n")


def read_record(folder: Path) -> Record:
    """The folder's rotation.json; `RunError` if it cannot be read."""
    path = folder / FILE
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise RunError(
            f"{path}: cannot be read as the record of `mtext rotate` ({str(error).splitlines()[0]}); "
            "give another folder with --out, or remove this one and run it again"
        ) from error


# Not the names of files, which may change while their bytes do not.
_IDENTITY = ("weights", "dims", "most", "max_characters", "split", "held_back", "dtype", "prompt")


def require_same(folder: Path, stored: Record, asked: Record) -> None:
    """`RunError` naming what differs if `folder` holds the rotation of another model, other texts or settings."""
    ours, theirs = _identity(asked), _identity(stored)
    lines = [
        f"{key}: {theirs.get(key)!r} there, {ours.get(key)!r} asked for"
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    ]
    if lines:
        raise RunError(
            f"{folder}: holds another rotation ({'; '.join(lines)}); run it with the same arguments to go on, "
            "or write elsewhere with --out"
        )


def _identity(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {key: getattr(record, key) for key in _IDENTITY} | record.fit
    found["weights"] = f"sha256 {record.weights[:12]}"
    found["texts"] = [
        f"sha256 {one.sha256[:12]}" + (f" ({', '.join(one.columns)})" if one.columns else "") for one in record.sources
    ]
    return found
