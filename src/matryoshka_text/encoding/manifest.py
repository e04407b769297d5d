"""What the vectors in a folder are: model, texts, arithmetic, division into parts. It decides whether a run goes on."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from matryoshka_text.reading.files import is_plain
from matryoshka_text.records import earlier_record, read_record, write_record
from matryoshka_text.vectors.codec import Stored

__all__ = [
    "FILE",
    "JOINED",
    "MOST",
    "MOST_PARTS",
    "InputRecord",
    "Manifest",
    "earlier",
    "identity",
    "read_manifest",
    "write_manifest",
]

FILE = "encoding.json"
JOINED = "vectors.npy"
_Bounds = tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
# Rows of a part, tokens of a pass: more is a slip of the finger.
MOST = 10**9
MOST_PARTS = 1_000_000


class InputRecord(BaseModel):
    """One input file; `sha256` and `rows` are null for standard input."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str
    sha256: str | None
    rows: int | None = Field(ge=0)


class Manifest(BaseModel):
    """encoding.json: everything that tells these vectors from others."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str = Field(description="as it was named")
    weights: str = Field(description="sha256 over the model's weights and configuration")
    width: int = Field(gt=0, le=10**6, description="full width of the model's vectors")
    dim: int = Field(gt=0, description="coordinates of each vector; unit length before they are stored")
    layers: int | None = Field(description="only the first so many layers were run; null: all")
    dtype: Literal["float32", "bf16"] = Field(description="arithmetic of the products")
    precision: Stored = Field(description="how a coordinate is stored; ubinary: one bit, eight in a byte")
    ranges: tuple[_Bounds, _Bounds] | None = Field(description="int8: least and greatest value of each coordinate")
    calibrated_on: int | None = Field(description="int8: the ranges are those of the first so many texts")
    prompt: str | None = Field(description="put before every text")
    role: Literal["query", "document"] | None = Field(
        default=None, description="what the texts are to a model that encodes queries and documents in two ways"
    )
    column: str
    inputs: tuple[InputRecord, ...]
    rows: int | None = Field(ge=0, description="texts in all; null until standard input has ended")
    rows_per_part: int = Field(gt=0, le=MOST)
    batch_tokens: int = Field(gt=0, le=MOST, description="padded tokens of a forward pass; changes last bits only")
    versions: dict[str, str]
    started: AwareDatetime
    finished: AwareDatetime | None = None

    @model_validator(mode="after")
    def _agrees(self, info: ValidationInfo) -> "Manifest":
        """Numbers that follow from each other do so: others would be vectors of other texts, or no end of parts."""
        counts = [one.rows for one in self.inputs]
        known = None if None in counts else sum(count for count in counts if count is not None)
        if self.dim > self.width or (self.ranges is not None and {len(one) for one in self.ranges} != {self.dim}):
            raise ValueError(f"dim {self.dim} is not that of the ranges, or above the width {self.width}")
        # In memory the ranges come after the rest; in a file they are there.
        if info.mode == "json" and (self.precision == "int8") != (self.ranges is not None):
            raise ValueError(f"precision {self.precision} {'with' if self.ranges else 'without'} ranges")
        if self.ranges is not None and any(least > greatest for least, greatest in zip(*self.ranges, strict=True)):
            raise ValueError("ranges with a least value above the greatest")
        if self.rows != known:
            raise ValueError(f"rows {self.rows} is not {known}, the sum of the inputs")
        if (self.parts or 0) > MOST_PARTS:
            raise ValueError(f"{self.parts:,} parts; allowed: at most {MOST_PARTS:,}")
        return self

    @property
    def columns(self) -> int:
        """Stored numbers of each vector."""
        return -(-self.dim // 8) if self.precision == "ubinary" else self.dim

    @property
    def parts(self) -> int | None:
        """How many part files there will be; None until the number of texts is known."""
        return None if self.rows is None else -(-self.rows // self.rows_per_part)

    def rows_of(self, part: int) -> int:
        """Vectors in this part; all parts but the last are full."""
        assert self.rows is not None
        return min(self.rows_per_part, self.rows - part * self.rows_per_part)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put encoding.json in place, whole."""
    write_record(folder / FILE, manifest)


def read_manifest(folder: Path) -> Manifest:
    """The folder's encoding.json; `RunError` if there is none that can be read."""
    return read_record(folder / FILE, Manifest, "mtext encode")


def earlier(folder: Path) -> Manifest | None:
    """What an earlier run has begun in `folder`; None for a new or empty one, `RunError` for anybody else's."""
    return earlier_record(folder / FILE, Manifest, "mtext encode")


# Not the file names, which may change where the bytes do not; not what changes last bits only.
_IDENTITY = ("weights", "dim", "layers", "dtype", "precision", "calibrated_on", "prompt", "role", "rows_per_part")


def identity(manifest: Manifest) -> dict[str, Any]:
    """All that decides the vectors but their last bits, in words that an error can show."""
    found: dict[str, Any] = {key: getattr(manifest, key) for key in _IDENTITY}
    found["prompt"] = manifest.prompt or None  # an empty one is none
    found["weights"] = f"sha256 {manifest.weights[:12]}"
    found["inputs"] = [f"sha256 {(i.sha256 or 'unknown')[:12]}, {i.rows} rows" for i in manifest.inputs]
    plain = all(is_plain(i.file) or i.sha256 is None for i in manifest.inputs)
    return found if plain else found | {"column": manifest.column}
