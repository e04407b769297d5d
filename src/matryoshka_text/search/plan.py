"""Plans: which prefix is searched, how, how many are kept, and with which longer prefixes those are ordered anew."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from matryoshka_text.errors import RunError
from matryoshka_text.files import write_whole
from matryoshka_text.search.qdrant import Qdrant, qdrant_of
from matryoshka_text.search.sql import Ids, Sql, sql_of
from matryoshka_text.search.stage import Positive, Stage
from matryoshka_text.vectors.views import bytes_per_vector

__all__ = ["FUNNELS", "Measured", "Plan"]

Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# Shares of a width of 2048 and what is kept of 800, 400 and 200, as in the Matryoshka paper (section 4.3.1, table 9).
FUNNELS: dict[str, tuple[int, ...]] = {
    "funnel 800": (800, 400, 200, 50, 10),
    "funnel 400": (400, 200, 50, 25, 10),
    "funnel 200": (200, 100, 50, 25, 10),
}


class Measured(BaseModel):
    """What a plan was seen to do: recall of the exact top k at full width, and time, on queries not used to choose it.

    `recall` with a 95% bootstrap interval over the queries. Times are medians of one query at a time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: Positive
    target: Share
    recall: Share
    low: Share
    high: Share
    queries: Positive
    rows: Positive
    milliseconds: Milliseconds
    exact_milliseconds: Milliseconds
    threads: Positive
    stand_ins: bool = Field(description="rows of the index stood in for queries, which is optimistic")

    @property
    def speedup(self) -> float:
        """How many times faster than an exact search at full width."""
        return self.exact_milliseconds / self.milliseconds


class Plan(BaseModel):
    """An ordered list of stages. Two are adaptive retrieval, more are a funnel; one at full width is exact search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    measured: Measured | None = None

    @model_validator(mode="after")
    def _narrows(self) -> "Plan":
        for place, (before, after) in enumerate(pairwise(self.stages), start=1):
            if before.keep is None or (after.keep is not None and after.keep > before.keep):
                raise ValueError(f"stages[{place}].keep: found {after.keep} after {before.keep}; allowed: no more")
            if after.dim <= before.dim and before.precision == "float32":
                raise ValueError(f"stages[{place}].dim: found {after.dim} after {before.dim}; allowed: more")
            if (after.structure, after.precision) != ("flat", "float32"):
                raise ValueError(
                    f"stages[{place}]: found {after.structure} {after.precision}; allowed after the first stage: "
                    "flat float32, since the rows that are left are read one by one"
                )
        first = self.stages[0]
        if (first.effort is None) != (first.structure in ("flat", "pq")):
            raise ValueError(f"stages[0].effort: found {first.effort}; allowed: a number for hnsw and ivf, else null")
        if first.structure == "pq" and (first.precision != "float32" or first.dim % 2):
            raise ValueError("stages[0]: pq codes pairs of coordinates; allowed: precision float32, an even dim")
        return self

    def __str__(self) -> str:
        text = ", then ".join(map(str, self.stages))
        if self.measured is None:
            return text
        m = self.measured
        return (
            f"{text}: recall@{m.k} {m.recall:.3f} ({m.low:.3f} to {m.high:.3f}), {m.milliseconds:.2f} ms a query, "
            f"{m.speedup:.1f} times faster than exact"
        )

    @property
    def width(self) -> int:
        """The dim of the last stage."""
        return self.stages[-1].dim

    @classmethod
    def exact(cls, width: int) -> "Plan":
        """One scan of all rows at full width."""
        return cls(stages=(Stage(dim=width),))

    @classmethod
    def adaptive(cls, dim: int, width: int, keep: int = 200) -> "Plan":
        """The paper's adaptive retrieval: the best `keep` by the prefix, ordered anew at full width."""
        return cls(stages=(Stage(dim=dim, keep=keep), Stage(dim=width)))

    @classmethod
    def funnel(cls, dims: tuple[int, ...], keeps: tuple[int, ...]) -> "Plan":
        """The paper's funnel: each stage reads longer prefixes of fewer rows. The last of `keeps` is asked for."""
        keeps = keeps[: len(dims) - 1]
        stages = [Stage(dim=dim, keep=keep) for dim, keep in zip(dims, keeps, strict=False)]
        return cls(stages=(*stages, Stage(dim=dims[-1])))

    def flops(self, rows: int) -> int | None:
        """Multiply-adds of one query, as the paper counts them; None for structures whose work depends on the data."""
        first = self.stages[0]
        if first.structure not in ("flat", "pq") or first.precision == "binary":
            return None
        return rows * first.dim + sum(left * stage.dim for left, stage in self._reordered(rows))

    def bytes_read(self, rows: int) -> int | None:
        """Bytes of vectors that one query reads; None for structures whose work depends on the data."""
        first = self.stages[0]
        if first.structure != "flat":
            return None
        later = sum(left * bytes_per_vector(stage.dim, stage.precision) for left, stage in self._reordered(rows))
        return rows * bytes_per_vector(first.dim, first.precision) + later

    def _reordered(self, rows: int) -> Iterator[tuple[int, Stage]]:
        """How many rows each later stage reads."""
        for before, stage in pairwise(self.stages):
            yield min(before.keep or 0, rows), stage

    def sql(self, table: str, *, ids: Ids = "text", texts: bool = True, rows: int | None = None) -> Sql:
        """The same search in PostgreSQL with pgvector: table, index, settings and query. Printed, it is a script.

        `ids` is the type of the column `id`. `texts`: the table has the documents' texts. `rows`, which ivf needs for
        the number of its lists: those of the table (None: those that the plan was measured on). `DataError` for a plan
        that PostgreSQL cannot carry out.
        """
        if rows is None and self.measured is not None:
            rows = self.measured.rows
        return sql_of(self.stages, table, ids=ids, texts=texts, rows=rows)

    def qdrant(self) -> Qdrant:
        """The same search in Qdrant: the body that makes a collection, its points, and the body of a query.

        `DataError` for ivf, which Qdrant does not have.
        """
        return qdrant_of(self.stages)

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON, whole."""
        write_whole(Path(path), self.model_dump_json(indent=2) + "\n")

    @classmethod
    def open(cls, path: str | Path) -> "Plan":
        """The plan that `save` wrote; `RunError` for anything else."""
        try:
            return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path}: cannot be read as a plan ({str(error).splitlines()[-1].strip()}); "
                "give a file that `Plan.save` or `mtext index` has written"
            ) from error
