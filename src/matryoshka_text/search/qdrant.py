"""The stages of a plan as JSON for Qdrant: named vectors, and prefetches within prefetches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from matryoshka_text.errors import DataError
from matryoshka_text.search.stage import Stage, narrowing
from matryoshka_text.search.structures import ADDING, LINKS

__all__ = ["Qdrant", "qdrant_of"]

_FULL = "full"
# A graph is not built, so all vectors are compared.
_NO_GRAPH = {"m": 0}
_CODES: dict[str, dict[str, Any]] = {
    "int8": {"scalar": {"type": "int8", "always_ram": True}},
    "binary": {"binary": {"always_ram": True}},
    # Two coordinates in four bits.
    "pq": {"product": {"compression": "x16", "always_ram": True}},
}


@dataclass(frozen=True)
class Qdrant:
    """One plan's requests, as dicts that are JSON for Qdrant's REST interface and fit qdrant-client's models.

    Qdrant brings vectors to unit length by itself (distance Cosine), prefixes included.
    """

    collection: dict[str, Any]
    stages: tuple[Stage, ...]

    def points(self, ids: Iterable[int | str], vectors: Float32[np.ndarray, "n width"]) -> Iterator[dict[str, Any]]:
        """The points of these rows; `vectors` as the index holds them. Qdrant takes whole numbers and UUIDs as ids."""
        dims = {name: size["size"] for name, size in self.collection["vectors"].items()}
        for each, vector in zip(ids, vectors, strict=True):
            yield {"id": each, "vector": {name: vector[:dim].tolist() for name, dim in dims.items()}, "payload": {}}

    def request(self, query: Float32[np.ndarray, " width"], k: int) -> dict[str, Any]:
        """The body of a query for the best `k`; `query` as the index compares it (`PrefixIndex.turned`)."""
        *before, last = self.stages
        body: dict[str, Any] = {}
        for place, stage in enumerate(before):
            body = _asking(query[: stage.dim], _name(stage), stage.keep or k, body)
            if place == 0 and stage.structure == "hnsw":
                body["params"] = {"hnsw_ef": max(stage.effort or 0, stage.keep or k)}
            if place == 0 and (stage.precision != "float32" or stage.structure == "pq"):
                body.setdefault("params", {})["quantization"] = {"rescore": False}
        return {**_asking(query[: last.dim], _FULL, k, body), "with_payload": True}


def qdrant_of(stages: Sequence[Stage]) -> Qdrant:
    """The requests; `DataError` for ivf."""
    first, width = stages[0], stages[-1].dim
    if first.structure == "ivf":
        raise DataError("plan: found ivf; Qdrant has no lists: allowed flat, hnsw, pq; tune for one of them")
    before = narrowing(stages)
    vectors: dict[str, Any] = {}
    for place, stage in enumerate(before):
        graph = {"m": LINKS, "ef_construct": ADDING} if stage.structure == "hnsw" else _NO_GRAPH
        vectors[_name(stage)] = {"size": stage.dim, "distance": "Cosine", "hnsw_config": graph, "on_disk": place > 0}
        if codes := _CODES.get("pq" if stage.structure == "pq" else stage.precision):
            vectors[_name(stage)]["quantization_config"] = codes
    vectors[_FULL] = {"size": width, "distance": "Cosine", "hnsw_config": _NO_GRAPH, "on_disk": True}
    return Qdrant({"vectors": vectors}, (*before, Stage(dim=width)))


def _name(stage: Stage) -> str:
    return f"p{stage.dim}"


def _asking(query: Float32[np.ndarray, " dim"], using: str, limit: int, prefetch: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"query": query.tolist(), "using": using, "limit": limit}
    return {**body, "prefetch": prefetch} if prefetch else body
