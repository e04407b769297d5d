"""rotation.json: what a rotation was learned from and how, and what came of it. It decides whether a run goes on."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from matryoshka_text.rotation import SourceKept

__all__ = ["FILE", "KeptRecord", "Record", "SourceRecord", "identity", "kept_of", "kept_records"]

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


def kept_records(kept: Sequence[SourceKept]) -> tuple[KeptRecord, ...]:
    """What `kept_of` gives back."""
    return tuple(KeptRecord(**asdict(one)) for one in kept)


def kept_of(records: Sequence[KeptRecord]) -> tuple[SourceKept, ...]:
    """What prefixes keep, from a record that was read."""
    return tuple(SourceKept(**dict(one)) for one in records)


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
    prompt: str | tuple[str | None, ...] | None = Field(description="before every text; several: one a source")
    fit: dict[str, Any]
    environment: dict[str, Any]
    started: AwareDatetime
    finished: AwareDatetime | None = None
    checks: tuple[dict[str, Any], ...] = ()
    kept: tuple[KeptRecord, ...] = ()

    @property
    def prompts(self) -> tuple[str | None, ...]:
        """The prompt of each source; None: the one that `encode` uses."""
        return self.prompt if isinstance(self.prompt, tuple) else (self.prompt,) * len(self.sources)


# Not the names of files, which may change while their bytes do not.
_IDENTITY = ("weights", "dims", "most", "max_characters", "split", "held_back", "dtype", "prompt")


def identity(record: Record) -> dict[str, object]:
    """All that decides the rotation, in words that an error can show; not the machine."""
    found: dict[str, Any] = {key: getattr(record, key) for key in _IDENTITY} | record.fit
    found["weights"] = f"sha256 {record.weights[:12]}"
    found["texts"] = [
        f"sha256 {one.sha256[:12]}" + (f" ({', '.join(one.columns)})" if one.columns else "") for one in record.sources
    ]
    return found
