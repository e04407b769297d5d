"""One stage of a plan."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from matryoshka_text.rows import Precision

__all__ = ["Positive", "Stage", "Structure", "narrowing"]

Structure = Literal["flat", "hnsw", "ivf", "pq"]
# A plan may come from a file: "8" and true are no numbers, and FAISS counts in 32 bits.
Positive = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]


class Stage(BaseModel):
    """One step of a search: rows are ordered by their first `dim` coordinates, and the best `keep` go on.

    The first stage reads every row, by a `structure` over coordinates in `precision`. Later stages read the rows that
    are left, exactly. Prefixes have unit length on both sides. `keep` null, in the last stage only: as many as are
    asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: Positive
    keep: Positive | None = None
    structure: Structure = "flat"
    precision: Precision = "float32"
    effort: Positive | None = Field(
        default=None, description="hnsw: efSearch, how many candidates are open at a time; ivf: how many lists are read"
    )

    def __str__(self) -> str:
        words = [f"{self.dim} dims"]
        words += [] if self.precision == "float32" else [self.precision]
        words += [] if self.structure == "flat" else [self.structure]
        words += [] if self.effort is None else [f"effort {self.effort}"]
        return " ".join(words) + ("" if self.keep is None else f", keep {self.keep:,}")


def narrowing(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages that come before all of a plan's rows that are left are ordered at full width.

    A plan of one stage is ordered at full width too, since its structure may know codes only; exact search needs no
    stage before.
    """
    if len(stages) > 1 or stages[0] == Stage(dim=stages[0].dim, keep=stages[0].keep):
        return tuple(stages[:-1])
    return tuple(stages)
