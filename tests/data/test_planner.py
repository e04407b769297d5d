import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from matryoshka_text.data.planner import BatchPlan, plan_batches, plan_rows
from matryoshka_text.errors import DataError
from tests.builders import columns as in_columns


def planned(columns: Sequence[Sequence[str]], **settings: Any) -> BatchPlan:
    return plan_batches(in_columns(*columns), **settings)


def _columns(rows: int, distinct: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Anchors and positives with many repeats, of many lengths."""
    rng = np.random.default_rng(seed)
    anchors = [f"a{i} " + "x" * int(rng.integers(1, 200)) for i in range(distinct)]
    return (
        [anchors[int(rng.integers(distinct))] for _ in range(rows)],
        [f"p{int(rng.integers(distinct))}" for _ in range(rows)],
    )


@pytest.mark.parametrize("bucket", [1, 4])
@pytest.mark.parametrize("size", [2, 16, 64])
def test_no_text_occurs_twice_in_a_batch_and_no_row_twice_in_an_epoch(size: int, bucket: int) -> None:
    columns = _columns(1000, 300)
    plan = planned(columns, size=size, seed=3, epoch=0, bucket=bucket)
    for batch in plan.batches:
        texts = [column[row] for column in columns for row in batch]
        assert len(set(texts)) == len(texts) == 2 * size
    used = plan.batches.flatten()
    assert len(set(used.tolist())) == len(used) == 1000 - plan.left_over
    assert plan.left_over <= 16 * size


def test_case_and_blanks_make_no_other_text() -> None:
    columns = (["A cat", "a  CAT ", "dog", "bird"], ["1", "2", "3", "4"])
    for seed in range(5):
        plan = planned(columns, size=2, seed=seed, epoch=0)
        assert all(set(batch.tolist()) != {0, 1} for batch in plan.batches)


def test_a_row_that_repeats_itself_is_left_out() -> None:
    columns = (["a", "b", "same", "c"], ["1", "2", "Same", "3"])
    plan = planned(columns, size=3, seed=0, epoch=0)
    assert sorted(plan.batches.flatten().tolist()) == [0, 1, 3]
    assert plan.left_over == 1


def test_the_seed_and_the_epoch_decide_alone() -> None:
    columns = _columns(500, 400)
    first = planned(columns, size=8, seed=1, epoch=0, bucket=4)
    again = planned(columns, size=8, seed=1, epoch=0, bucket=4)
    np.testing.assert_array_equal(first.batches, again.batches)
    for other in (dict(seed=2, epoch=0), dict(seed=1, epoch=1)):
        plan = planned(columns, size=8, bucket=4, **other)
        assert plan.batches.shape != first.batches.shape or (plan.batches != first.batches).any()


def test_buckets_bring_like_lengths_together() -> None:
    columns = _columns(2000, 2000)
    lengths = np.asarray([len(text) for text in columns[0]])

    def spread(bucket: int) -> float:
        plan = planned(columns, size=20, seed=0, epoch=0, bucket=bucket)
        return float(np.mean([np.ptp(lengths[batch]) for batch in plan.batches]))

    assert spread(32) < 0.3 * spread(1)


def test_groups_share_no_batch() -> None:
    columns = _columns(600, 5000)
    groups = np.arange(600) % 3
    plan = planned(columns, size=16, seed=0, epoch=0, groups=groups)
    assert {len(set(groups[batch].tolist())) for batch in plan.batches} == {1}
    assert {int(groups[batch[0]]) for batch in plan.batches} == {0, 1, 2}


def test_a_batch_that_cannot_be_filled_is_an_error() -> None:
    with pytest.raises(DataError, match=r"batch\.size is 5.*4 usable rows of 4"):
        planned((list("abcd"), list("efgh")), size=5, seed=0, epoch=0)
    with pytest.raises(DataError, match="repeated text"):
        planned((["same"] * 100, [str(i) for i in range(100)]), size=2, seed=0, epoch=0)


def test_a_reply_that_half_the_rows_share_costs_no_quadratic_time() -> None:
    rows = 40_000
    columns = ([f"a{i}" for i in range(rows)], ["yes" if i % 2 else f"p{i}" for i in range(rows)])
    plan = planned(columns, size=32, seed=0, epoch=0)
    assert len(plan) >= rows // 2 // 32


@pytest.mark.parametrize("bucket", [1, 4])
def test_without_the_rule_every_row_is_usable(bucket: int) -> None:
    columns = (["same"] * 100, ["same"] * 100)
    plan = planned(columns, size=16, seed=0, epoch=0, bucket=bucket, distinct=False)
    used = plan.batches.flatten().tolist()
    assert plan.batches.shape == (6, 16)
    assert plan.left_over == 4
    assert len(set(used)) == 96
    plan = planned((["one text"] * 3,), size=3, seed=0, epoch=0, distinct=False)
    assert sorted(plan.batches.flatten().tolist()) == [0, 1, 2]


def test_rows_of_known_lengths_are_planned_as_texts_are() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 1000)
    texts = ["x" * int(length) for length in lengths]
    for settings in (dict(seed=0, epoch=0), dict(seed=3, epoch=1, bucket=8), dict(seed=3, epoch=2, groups=lengths % 3)):
        plan = plan_rows(lengths, size=20, **settings)
        np.testing.assert_array_equal(plan.batches, plan_rows(lengths.tolist(), size=20, **settings).batches)
        np.testing.assert_array_equal(plan.batches, planned((texts,), size=20, distinct=False, **settings).batches)
        used = plan.batches.flatten().tolist()
        assert len(set(used)) == len(used) == 1000 - plan.left_over
    groups = lengths % 3
    plan = plan_rows(lengths, size=20, seed=0, epoch=0, groups=groups)
    assert {len(set(groups[batch].tolist())) for batch in plan.batches} == {1}


def test_epochs_shuffle_rows_and_what_is_left_over() -> None:
    plans = [plan_rows([1] * 50, size=8, seed=1, epoch=epoch) for epoch in (0, 1)]
    assert (plans[0].batches != plans[1].batches).any()
    left = [set(range(50)) - set(plan.batches.flatten().tolist()) for plan in plans]
    assert left[0] != left[1]


def test_buckets_of_rows_bring_like_lengths_together_and_leave_out_any() -> None:
    lengths = np.arange(1, 104)

    def spread(bucket: int) -> float:
        plan = plan_rows(lengths, size=10, seed=0, epoch=0, bucket=bucket)
        return float(np.mean([np.ptp(lengths[batch]) for batch in plan.batches]))

    assert spread(10) < 0.3 * spread(1)
    left = [
        set(range(103)) - set(plan_rows(lengths, size=10, seed=0, epoch=e, bucket=10).batches.flatten()) for e in (0, 1)
    ]
    assert not any(rows == {100, 101, 102} for rows in left)  # the longest ones are no more often left over


def test_fewer_rows_than_a_batch_is_an_error() -> None:
    with pytest.raises(DataError) as error:
        planned((list("abc"),), size=4, seed=0, epoch=0, distinct=False)
    assert str(error.value) == (
        "batch.size is 4, but the data make no batch of 4 rows (3 rows in all); use a smaller batch.size, or more data"
    )
    with pytest.raises(DataError) as error:
        plan_rows([5] * 6, size=4, seed=0, epoch=0, groups=np.arange(6) % 2, key="objectives[1].batch")
    assert str(error.value) == (
        "objectives[1].batch is 4, but the data make no batch of 4 rows of one source (6 rows in all); "
        "use a smaller objectives[1].batch, or more data"
    )
    with pytest.raises(DataError, match=r"\(0 rows in all\)"):
        plan_rows([], size=4, seed=0, epoch=0)


def test_batches_are_those_of_earlier_releases() -> None:
    found = []
    shapes = [(1000, 300, 16, 4, False), (3000, 40, 8, 1, False), (5000, 2000, 64, 2, True)]
    for rows, distinct, size, bucket, groups in shapes:
        plan = planned(
            _columns(rows, distinct, rows),
            size=size,
            seed=3,
            epoch=len(found),
            bucket=bucket,
            longest=100,
            groups=np.arange(rows) % 3 if groups else None,
        )
        found.append(hashlib.sha256(plan.batches.astype("<i8").tobytes()).hexdigest()[:16])
    assert found == ["062254c6c544f078", "44afd15d36a7bcae", "62cc0b56021aeea6"]
