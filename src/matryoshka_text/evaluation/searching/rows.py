"""One way of searching a retrieval task's documents: how good it is, and what a query costs."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from matryoshka_text.rows import Precision
from matryoshka_text.search.plan import Plan

__all__ = ["Kind", "Lists", "SearchRow"]

Kind = Literal["single", "adaptive", "funnel", "tuned", "lists"]
Percent = Annotated[float, Field(ge=0, le=100 + 1e-9)]


class Lists(BaseModel):
    """AdANNS: `count` lists round centroids of `coarse` coordinates, `probes` of them read with `fine` coordinates."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    coarse: int = Field(gt=0)
    fine: int = Field(gt=0)
    count: int = Field(gt=0)
    probes: int = Field(gt=0)
    read: float = Field(ge=0, description="rows in the lists of a query, the mean over the queries")


class SearchRow(BaseModel):
    """One line of search.jsonl. Quality is x 100 and over all judged queries, whatever a plan was tuned on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="org/name")
    weights: str = Field(pattern=r"^[0-9a-f]{64}$", description="sha256 over the model's weights and configuration")
    layers: int | None = Field(description="only the first N layers were run; null: all")
    width: int = Field(gt=0)
    task: str
    split: str
    subset: str = Field(description="of the task's languages or parts, as mteb calls them")
    data: str = Field(description="as in rows.jsonl")
    documents: int = Field(gt=0)
    queries: int = Field(gt=0, description="those with judgements")
    rotation: str | None = Field(
        description="digest of how a rotation was fitted on the task's own documents; null: the model's own dims"
    )
    kind: Kind = Field(
        description="single: the best by a prefix; adaptive: 200 by a prefix, ordered anew at full width; funnel: "
        "several longer prefixes; tuned: the fastest plan found for a recall; lists: AdANNS"
    )
    name: str = Field(description="tells the ways of one kind apart")
    dim: int = Field(gt=0, description="coordinates by which the documents are first looked at")
    precision: Precision = Field(description="of those coordinates")
    plan: Plan | None = Field(default=None, description="null: single and lists")
    lists: Lists | None = None
    note: str = ""
    k: int = Field(gt=0)
    ndcg: Percent = Field(description="nDCG@k")
    map: Percent = Field(description="mAP@k of the Matryoshka paper: mean over queries of sum_{i<=k} P(i) rel(i) / k")
    top1: Percent = Field(description="queries whose first document is relevant")
    recall: Percent = Field(description="of the exact top k at full width; documents of equal score count alike")
    mflops: float | None = Field(description="10^6 multiply-adds a query; null: binary codes need none")
    bytes_read: int = Field(ge=0, description="of vectors, a query")
    milliseconds: float = Field(gt=0, description="median of single queries")
    threads: int = Field(gt=0)
    machine: str = Field(description="the processor that was measured")
    normalize: bool
    settings: str = Field(description="as in rows.jsonl")
    versions: dict[str, str]
    date: AwareDatetime

    @property
    def group(self) -> tuple[object, ...]:
        """What its documents and queries are, and everything that decides their vectors."""
        what = (self.model, self.weights, self.layers, self.task, self.split, self.subset, self.data)
        return (*what, self.rotation, self.machine, self.normalize, self.settings)
