"""Plans as Qdrant's requests, in qdrant-client's local mode. It checks form and results only: it has no graphs."""

import json
from typing import Any

import numpy as np
import pytest

from matryoshka_text.errors import DataError
from matryoshka_text.search import Plan, PrefixIndex, Stage

qdrant_client = pytest.importorskip("qdrant_client", reason="qdrant-client is not installed (extra dev)")


@pytest.mark.parametrize(
    "plan",
    [
        Plan.exact(64),
        Plan.adaptive(16, 64, keep=100),
        Plan.funnel((8, 16, 32, 64), (400, 200, 50)),
        Plan(stages=(Stage(dim=16, structure="hnsw", precision="int8", effort=3000, keep=3000), Stage(dim=64))),
        Plan(stages=(Stage(dim=64, structure="hnsw", effort=3000),)),
    ],
    ids=str,
)
def test_the_same_search(plan: Plan, vectors: np.ndarray, queries: np.ndarray) -> None:
    models = qdrant_client.models
    index = PrefixIndex.build(vectors, rotate=False)
    form = plan.qdrant()
    body = models.CreateCollection.model_validate_json(json.dumps(form.collection))
    client = qdrant_client.QdrantClient(":memory:")
    client.create_collection("docs", vectors_config=body.vectors)
    rows = index.corpus.gather(np.arange(len(index)), 64)
    client.upsert("docs", [models.PointStruct(**point) for point in form.points(range(len(index)), rows)])
    asked = index.turned(queries[:10])
    right = index.search(queries[:10], 5, plan)
    for query, ids, scores in zip(asked, right.ids, right.scores, strict=True):
        request = models.QueryRequest.model_validate_json(json.dumps(form.request(query, 5)))
        found = client.query_points(
            "docs", prefetch=request.prefetch, query=request.query, using=request.using, limit=request.limit
        ).points
        assert [point.id for point in found] == ids
        np.testing.assert_allclose([point.score for point in found], scores, atol=1e-5)


def test_what_is_stored_how() -> None:
    first: dict[str, Any] = {"dim": 16, "keep": 100}
    form = Plan(stages=(Stage(**first, structure="hnsw", precision="binary", effort=50), Stage(dim=64))).qdrant()
    prefix, full = form.collection["vectors"]["p16"], form.collection["vectors"]["full"]
    assert prefix["hnsw_config"] == {"m": 32, "ef_construct": 80} and "binary" in prefix["quantization_config"]
    assert full == {"size": 64, "distance": "Cosine", "hnsw_config": {"m": 0}, "on_disk": True}
    params = form.request(np.ones(64, np.float32), 10)["prefetch"]["params"]
    assert params == {"hnsw_ef": 100, "quantization": {"rescore": False}}
    pq = Plan(stages=(Stage(**first, structure="pq"), Stage(dim=64))).qdrant().collection["vectors"]["p16"]
    assert pq["hnsw_config"] == {"m": 0} and pq["quantization_config"]["product"]["compression"] == "x16"
    with pytest.raises(DataError, match="Qdrant has no lists"):
        Plan(stages=(Stage(**first, structure="ivf", effort=3), Stage(dim=64))).qdrant()
