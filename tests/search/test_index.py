"""An index against brute force: the same answers at full width, whatever is rotated, added or deleted."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from matryoshka_text.errors import DataError, RunError
from matryoshka_text.rotation import Rotation
from matryoshka_text.rows import Precision
from matryoshka_text.search import Plan, PrefixIndex, Stage
from matryoshka_text.search.stage import Structure
from matryoshka_text.search.structures import Key, Searchable
from tests.search.conftest import best_rows, clustered


@pytest.fixture(scope="module")
def index(vectors: np.ndarray) -> PrefixIndex:
    return PrefixIndex.build(vectors)


def test_exact_search_is_brute_force(index: PrefixIndex, vectors: np.ndarray, queries: np.ndarray) -> None:
    found = index.search(queries[:20], 10, Plan.exact(64))
    right = best_rows(vectors, queries[:20], 10)
    np.testing.assert_array_equal(found.rows, right)
    cosines = np.take_along_axis(queries[:20] @ vectors.T, right, axis=1)
    np.testing.assert_allclose(found.scores, cosines, atol=2e-6)
    assert found.ids == right.tolist()


@pytest.mark.parametrize("structure", ["flat", "hnsw", "ivf", "pq"])
@pytest.mark.parametrize("precision", ["float32", "int8", "binary"])
def test_every_structure_finds_most_and_scores_at_full_width(
    index: PrefixIndex, vectors: np.ndarray, queries: np.ndarray, structure: str, precision: str
) -> None:
    if structure == "pq" and precision != "float32":
        pytest.skip("pq has codes of its own")
    effort = None if structure in ("flat", "pq") else 300 if structure == "hnsw" else 40
    first = Stage(dim=32, keep=300, structure=structure, precision=precision, effort=effort)  # type: ignore[arg-type]
    found = index.search(queries, 10, Plan(stages=(first, Stage(dim=64))))
    right = index.search(queries, 10, Plan.exact(64))
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(right.rows, found.rows, strict=True)])
    assert recall > 0.95
    np.testing.assert_allclose(found.scores, np.take_along_axis(queries @ vectors.T, found.rows, axis=1), atol=2e-6)


def test_a_shortlist_of_everything_is_exact(index: PrefixIndex, vectors: np.ndarray, queries: np.ndarray) -> None:
    plan = Plan(stages=(Stage(dim=4, keep=3000), Stage(dim=16, keep=3000), Stage(dim=64)))
    np.testing.assert_array_equal(index.search(queries, 5, plan).rows, index.search(queries, 5, Plan.exact(64)).rows)


def test_the_stages_of_a_funnel_by_hand(vectors: np.ndarray, queries: np.ndarray) -> None:
    index = PrefixIndex.build(vectors, rotate=False)
    plan = Plan(stages=(Stage(dim=8, keep=50), Stage(dim=16, keep=20), Stage(dim=64)))
    found = index.search(queries[:10], 5, plan)
    for query, rows in zip(queries[:10], found.rows, strict=True):
        left = np.arange(len(vectors))
        for dim, keep in ((8, 50), (16, 20), (64, 5)):
            left = left[best_rows(vectors[left, :dim], query[None, :dim], keep)[0]]
        assert rows.tolist() == left.tolist()


def test_a_last_stage_that_keeps_more_gives_k(index: PrefixIndex, queries: np.ndarray) -> None:
    plan = Plan(stages=(Stage(dim=32, keep=300), Stage(dim=64, keep=50)))
    found = index.search(queries, 5, plan)
    assert found.rows.shape == (len(queries), 5)
    np.testing.assert_array_equal(found.rows, index.search(queries, 50, plan).rows[:, :5])


def test_its_own_rotation_shortens_the_shortlist(vectors: np.ndarray, queries: np.ndarray, index: PrefixIndex) -> None:
    plan = Plan.adaptive(4, 64, keep=20)
    plain = PrefixIndex.build(vectors, rotate=False)
    right = plain.search(queries, 10, Plan.exact(64)).rows

    def recall(of: PrefixIndex) -> float:
        return float(
            np.mean([np.isin(a, b).mean() for a, b in zip(right, of.search(queries, 10, plan).rows, strict=True)])
        )

    assert recall(index) > recall(plain) + 0.1


def test_a_given_rotation_is_used(vectors: np.ndarray, queries: np.ndarray) -> None:
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((64, 64)))[0]
    index = PrefixIndex.build(vectors, rotate=Rotation(turn, (8, 16)))
    np.testing.assert_allclose(index.turned(queries[:1])[0], queries[0] @ turn, atol=1e-6)
    with pytest.raises(DataError, match="width 32; allowed: 64"):
        PrefixIndex.build(vectors, rotate=Rotation(np.eye(32), (8,)))


def test_few_vectors_are_searched_unrotated(queries: np.ndarray) -> None:
    few = clustered(100, 5)
    index = PrefixIndex.build(few)
    assert index.rotation is None
    np.testing.assert_array_equal(index.search(queries[:5], 3, Plan.exact(64)).rows, best_rows(few, queries[:5], 3))


def test_saved_and_opened(index: PrefixIndex, queries: np.ndarray, tmp_path: Path) -> None:
    index.save(tmp_path / "idx")
    opened = PrefixIndex.open(tmp_path / "idx")
    before, after = index.search(queries, 10), opened.search(queries, 10)
    np.testing.assert_array_equal(before.rows, after.rows)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_ids_and_texts_come_back(vectors: np.ndarray) -> None:
    index = PrefixIndex.build(
        vectors, ids=[f"d{row}" for row in range(len(vectors))], texts=[f"text {row}" for row in range(len(vectors))]
    )
    hits = index.search(vectors[41], 1, Plan.exact(64))
    assert hits.ids == [["d41"]]
    assert index.texts(hits.rows[0]) == ["text 41"]


def test_added_rows_are_found_by_every_structure(vectors: np.ndarray, queries: np.ndarray, tmp_path: Path) -> None:
    index = PrefixIndex.build(vectors[:2000], out=tmp_path / "idx")
    index.tune(queries, recall=0.9)
    index.add(vectors[2000:])
    right = best_rows(vectors, queries[:20], 10)
    for opened in (index, PrefixIndex.open(tmp_path / "idx")):
        assert len(opened) == 3000
        np.testing.assert_array_equal(opened.search(queries[:20], 10, Plan.exact(64)).rows, right)
        found = opened.search(vectors[2500], 1)
        assert found.ids == [[2500]]
    with pytest.raises(DataError, match="found 2000, which the index has already"):
        index.add(vectors[:1], ids=[2000])


@pytest.mark.parametrize("structure", ["flat", "hnsw", "ivf", "pq"])
@pytest.mark.parametrize("precision", ["float32", "binary"])
def test_deleted_rows_are_found_by_no_structure(
    vectors: np.ndarray, structure: str, precision: str, tmp_path: Path
) -> None:
    if structure == "pq" and precision == "binary":
        pytest.skip("pq has codes of its own")
    effort = None if structure in ("flat", "pq") else 64
    first = Stage(dim=16, keep=40, structure=structure, precision=precision, effort=effort)  # type: ignore[arg-type]
    index = PrefixIndex.build(vectors, out=tmp_path / "idx")
    index.delete([7, 2999])
    for opened in (index, PrefixIndex.open(tmp_path / "idx")):
        for plan in (Plan(stages=(first, Stage(dim=64))), Plan.exact(64)):
            found = opened.search(vectors[[7, 2999]], 10, plan)
            assert not np.isin(found.rows, [7, 2999]).any()
            assert (found.rows >= 0).all()
        assert len(opened) == 2998
    with pytest.raises(DataError, match="found 7, of which the index has none"):
        index.delete([7])


def test_two_programs_do_not_write_over_each_other(vectors: np.ndarray, tmp_path: Path) -> None:
    one = PrefixIndex.build(vectors[:500], out=tmp_path / "idx")
    other = PrefixIndex.open(tmp_path / "idx")
    one.delete([3])
    with pytest.raises(RunError, match="another program has changed this index"):
        other.delete([4])


def test_drift_tells_of_documents_of_another_kind(vectors: np.ndarray) -> None:
    index = PrefixIndex.build(vectors)
    assert max(abs(lost) for lost in index.drift().values()) < 1e-6
    other = np.roll(clustered(6000, 9), 32, axis=1)
    index.add(other)
    assert index.drift()[8] > 0.05


def test_rows_of_float16_are_unit_enough(vectors: np.ndarray) -> None:
    assert len(PrefixIndex.build(vectors[:200].astype(np.float16), rotate=False)) == 200


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda v: v * 3, "another length than 1 in 300 of 300 rows, rows 0, 1, 2, 3, 4, … .*normalize"),
        (lambda v: np.where(np.arange(300)[:, None] == 9, np.nan, v), "NaN or infinity in 1 of 300 rows, rows 9"),
        (lambda v: np.where(np.arange(300)[:, None] == 9, 0, v), "only zeros in 1 of 300 rows, rows 9"),
        (lambda v: v[0], r"array of shape \[64\]"),
        (lambda v: v[:0], r"array of shape \[0, 64\]"),
        (lambda v: (v * 100).astype(np.int64), "of int64"),
    ],
)
def test_vectors_that_cannot_be_searched(vectors: np.ndarray, change, found: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=found):
        PrefixIndex.build(change(vectors[:300]), rotate=False, out=tmp_path / "idx")
    assert not list(tmp_path.iterdir())


def test_normalized_on_demand(vectors: np.ndarray, queries: np.ndarray) -> None:
    scale = np.linspace(0.1, 9, 300)[:, None].astype(np.float32)
    index = PrefixIndex.build(vectors[:300] * scale, normalize=True, rotate=False)
    found = index.search(queries[:5], 3, Plan.exact(64))
    np.testing.assert_array_equal(found.rows, best_rows(vectors[:300], queries[:5], 3))


@pytest.mark.parametrize(
    ("ask", "found"),
    [
        (lambda i, q: i.search(q[:, :32]), r"found shape \[80, 32\]; allowed: \[queries, 64\]"),
        (lambda i, q: i.search(q * np.nan), "NaN or infinity in 80"),
        (lambda i, q: i.search(q * 0), "only zeros"),
        (lambda i, q: i.search(q, 0), "k: found 0"),
        (lambda i, q: i.search(q, 500), "allowed: whole numbers from 1 to 200, what the plan keeps"),
        (lambda i, q: i.search(q, 5, Plan.exact(32)), "last stage of 32 dims; allowed: 64"),
        (lambda i, q: i.tune(q, recall=0), "recall: found 0; allowed: above 0, at most 1"),
        (lambda i, q: i.tune(q, recall=1.5), "recall: found 1.5"),
        (lambda i, q: i.tune(q, k=3000), "k: found 3000; allowed: 1 to 2999"),
        (lambda i, q: i.tune(q[:5]), "queries: found 5; allowed: at least 20"),
    ],
)
def test_searches_that_cannot_be_made(index: PrefixIndex, queries: np.ndarray, ask, found: str) -> None:
    with pytest.raises(DataError, match=found):
        ask(index, queries)


def test_more_than_there_are(queries: np.ndarray) -> None:
    index = PrefixIndex.build(clustered(5, 2))
    hits = index.search(queries[0], 8, Plan.exact(64))
    assert hits.rows[0, 5:].tolist() == [-1, -1, -1]
    assert hits.ids[0][5:] == [None, None, None]


def test_ids_once_and_one_for_each(vectors: np.ndarray) -> None:
    with pytest.raises(DataError, match="found 'a' twice"):
        PrefixIndex.build(vectors[:2], ids=["a", "a"])
    with pytest.raises(DataError, match="ids: found 3; allowed: 2"):
        PrefixIndex.build(vectors[:2], ids=["a", "b", "c"])


@pytest.mark.parametrize(
    "file", ["index.json", "segment-00000/vectors.npy", "segment-00000/documents.arrow", "rotation.safetensors"]
)
def test_a_damaged_index(index: PrefixIndex, tmp_path: Path, file: str) -> None:
    index.save(tmp_path / "idx")
    path = tmp_path / "idx" / file
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises((RunError, DataError), match=file.split("/")[0]):
        PrefixIndex.open(tmp_path / "idx")


def test_another_folder_is_left_as_it_is(vectors: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is no index"):
        PrefixIndex.build(vectors[:50], out=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_rows_are_read_without_a_copy_of_the_others(vectors: np.ndarray) -> None:
    corpus = PrefixIndex.build(vectors, rotate=False).corpus
    tracemalloc.start()
    found = corpus.gather(np.array([5, 2]), 8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(found, vectors[[5, 2], :8], atol=1e-6)
    assert peak < vectors[:, :8].nbytes // 2


@pytest.mark.parametrize(
    ("structure", "precision", "codes"),
    [
        ("flat", "float32", 64),
        ("flat", "int8", 16),
        ("flat", "binary", 2),
        ("pq", "float32", 4),
        ("ivf", "float32", 64),
        ("hnsw", "float32", 64),
        ("hnsw", "int8", 16),
        ("hnsw", "binary", 2),
    ],
)
def test_what_a_structure_holds_in_memory(
    vectors: np.ndarray, structure: Structure, precision: Precision, codes: int
) -> None:
    held = Searchable.build(Key(16, structure, precision), 3000, lambda: [vectors]).bytes / 3000
    assert codes <= held <= codes + {"flat": 0, "pq": 0, "ivf": 20, "hnsw": 300}[structure]
