"""One scored cell of an evaluation, and the JSON Lines files such rows are kept in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from matryoshka_text.errors import DataError
from matryoshka_text.files import locked, write_whole

__all__ = [
    "BASELINES",
    "ON_CORPUS",
    "Method",
    "Precision",
    "Row",
    "append_rows",
    "latest_rows",
    "read_lines",
    "read_rows",
]

_Line = TypeVar("_Line", bound=BaseModel)

Method = Literal["first", "random", "pca", "svd", "projection", "rotation", "rotated"]
# Methods that a suite may ask for in addition to the first coordinates; a given rotation comes with its file.
BASELINES: tuple[Method, ...] = ("random", "pca", "svd", "projection", "rotation")
Precision = Literal["float32", "int8", "binary"]
# Ends the label of what is fitted on a task's own documents, so that nobody takes its scores for the model's.
ON_CORPUS = " (fitted on the corpus)"


class Row(BaseModel):
    """One model's main score on one task at one prefix length, with everything needed to compare it with another."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str = Field(description="org/name")
    weights: str = Field(pattern=r"^[0-9a-f]{64}$", description="sha256 over the model's weights and configuration")
    origin: Literal["folder", "cache", "hub", "package"]
    task: str
    type: str = Field(description="mteb's task type: STS, Classification, Retrieval, …; or MaskedText")
    split: str
    metric: str = Field(description="the task's main score, as mteb calls it; masked_accuracy for MaskedText")
    dim: int = Field(gt=0)
    layers: int | None = Field(default=None, gt=0, description="only the first so many layers were run; null: all")
    width: int = Field(
        gt=0,
        description="full width (MaskedText: of the vocabulary matrix); dim == width is the untruncated score",
    )
    method: Method = Field(
        default="first",
        description="how the dims come out of the full width: its first coordinates, coordinates drawn at random, "
        "principal components (pca: of centred vectors, svd: of vectors as they are), a Gaussian projection, a "
        "rotation fitted on the task's own documents (rotation) or a given one (rotated)",
    )
    seed: int | None = Field(default=None, ge=0, description="random and projection: of the draw; else null")
    precision: Precision = Field(default="float32", description="of the vectors that are compared")
    bytes_per_vector: int = Field(gt=0, description="float32: 4 * dim, int8: dim, binary: dim / 8 rounded up")
    score: float = Field(allow_inf_nan=False, description="main score x 100")
    interval: tuple[float, float] | None = Field(
        default=None, description="95% bootstrap interval of the score over the task's items; null: none is known"
    )
    further: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="MaskedText: perplexity, loss (nats a masked token), masked_tokens; else empty",
    )
    normalize: bool = Field(description="prefixes were brought back to length 1 before scoring")
    prompts: str | None = Field(
        default=None, description="digest of prompts that the suite gave; null: the model's own"
    )
    sample: str | None = Field(
        default=None,
        description="pca, svd, int8, rotation: sha256 over the texts that components, ranges or rotation are of",
    )
    rotation: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="rotation: sha256 over the dims and settings of the fit; rotated: over the matrix; else null",
    )
    settings: str = Field(
        default="", description="digest of all else that a score depends on: device, prompts, versions of libraries"
    )
    versions: dict[str, str]
    data: str = Field(
        description="sha256 over the local data (MaskedText: file and masking), or <hub id>@<revision>; behind a # the "
        "subsets, or an own set's columns and positive label, where they are not the usual"
    )
    date: AwareDatetime

    @property
    def key(self) -> tuple[object, ...]:
        """What the row is about: a later row of the same key replaces an earlier one."""
        what = (self.task, self.split, self.metric, self.data)
        how = (self.dim, self.method, self.seed, self.precision, self.sample, self.layers, self.normalize, self.prompts)
        # Only where there is one: items of older rows are kept under a digest of their key.
        turned = () if self.rotation is None else (self.rotation,)
        return (self.model, self.weights, *what, *how, *turned)


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON Lines file, in order; [] where there is no file, `DataError` for a line that is no row."""
    return read_lines(path, Row)


def read_lines(path: Path, kind: type[_Line]) -> list[_Line]:
    """`read_rows` for rows of any kind."""
    if not path.exists():
        return []
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text ({error}); move the file away, or write elsewhere with --out") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(kind.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise DataError(
                f"{path}:{number}: {where}: {first['msg']}; this is no row of an evaluation: "
                "move the file away, or write elsewhere with --out"
            ) from error
    return rows


def append_rows(path: Path, rows: Sequence[_Line]) -> None:
    """Add rows, all of one kind, at the end of the file, which is replaced as a whole: a kill leaves the old file or
    the new one.

    Two programs may add to one file at once: one waits for the other.
    """
    if not rows:
        return
    with locked(path):
        every = [*read_lines(path, type(rows[0])), *rows]
        write_whole(path, "".join(row.model_dump_json() + "\n" for row in every))


def latest_rows(rows: Sequence[Row]) -> list[Row]:
    """The last row of each key, in the order in which the keys first appeared."""
    return list({row.key: row for row in rows}.values())
