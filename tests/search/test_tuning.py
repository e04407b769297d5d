"""The tuner keeps its promise on queries that it has not seen, and says what cannot be had."""

import numpy as np
import pytest

from matryoshka_text.search import Plan, PrefixIndex
from matryoshka_text.search.asked import asked_of, ranks_in, recalls
from matryoshka_text.search.structures import Key
from tests.search.conftest import best_rows, clustered


@pytest.fixture(scope="module")
def index(vectors: np.ndarray) -> PrefixIndex:
    return PrefixIndex.build(vectors)


@pytest.mark.parametrize("target", [0.8, 0.95])
def test_the_promise_is_kept_on_new_queries(index: PrefixIndex, target: float) -> None:
    found = index.tune(clustered(400, 11), k=10, recall=target)
    new = clustered(300, 12)
    right = index.search(new, 10, Plan.exact(64)).rows
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(right, index.search(new, 10).rows, strict=True)])
    measured = found.plan.measured
    assert measured is not None
    assert measured.recall >= target
    assert measured.low <= measured.recall <= measured.high
    assert recall >= target - 0.02
    assert not measured.stand_ins
    assert measured.queries == 200


def test_every_structure_is_looked_at(index: PrefixIndex) -> None:
    found = index.tune(clustered(60, 13), recall=0.9, structures=("flat", "hnsw", "ivf", "pq"), dims=(16, 32))
    assert {candidate.key.structure for candidate in found.candidates} >= {"hnsw"}
    for candidate in found.candidates:
        assert str(candidate)
        assert candidate.plan is None or candidate.reached >= 0.9


def test_ranks_by_hand(vectors: np.ndarray) -> None:
    index = PrefixIndex.build(vectors, rotate=False)
    queries = clustered(25, 14)
    asked = asked_of(index, queries, 5, seed=0)
    np.testing.assert_array_equal(asked.truth, best_rows(vectors, queries, 5))
    ranks = ranks_in(lambda some: index.structure(Key(8, "flat", "float32")).search(some, 400), asked, most=400)
    order = best_rows(vectors[:, :8], queries[:, :8], 400)
    for line, true, by_prefix in zip(ranks, asked.truth, order, strict=True):
        for rank, row in zip(line, true, strict=True):
            assert rank == (by_prefix.tolist().index(row) if row in by_prefix else 400)


def test_stand_ins_do_not_find_themselves(index: PrefixIndex, vectors: np.ndarray) -> None:
    asked = asked_of(index, None, 5, seed=0)
    assert asked.own is not None
    assert not (asked.truth == asked.own[:, None]).any()
    assert recalls(index, Plan.adaptive(32, 64, keep=3000), asked, 5).min() == 1
    found = index.tune(recall=0.9)
    assert found.plan.measured is not None
    assert found.plan.measured.stand_ins


def test_deleted_rows_are_no_truth(vectors: np.ndarray) -> None:
    index = PrefixIndex.build(vectors)
    gone = index.search(vectors[:1], 3, Plan.exact(64)).rows[0].tolist()
    index.delete(gone)
    asked = asked_of(index, np.repeat(vectors[:1], 20, axis=0), 5, seed=0)
    assert not np.isin(asked.truth, gone).any()


def test_exact_search_where_nothing_is_faster(vectors: np.ndarray) -> None:
    index = PrefixIndex.build(vectors[:60], rotate=False)
    noise = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    found = index.tune(noise, k=10, recall=1.0, dims=(2,))
    assert found.plan.stages == Plan.exact(64).stages or found.plan.stages[0].keep == 60
    assert found.plan.measured is not None
    assert found.plan.measured.recall == 1


def test_a_narrow_index_with_close_dims_is_tuned() -> None:
    narrow = PrefixIndex.build(clustered(200, 0, width=32), dims=(4, 8, 16, 32), rotate=False)
    found = narrow.tune(clustered(40, 1, width=32))
    assert found.plan.width == 32
    assert {candidate.key.dim for candidate in found.candidates} <= {4, 8, 16, 24}
