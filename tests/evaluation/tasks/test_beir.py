"""BEIR folders: plain or gzipped, and every fault with file and line."""

import gzip
from pathlib import Path

import pytest

from matryoshka_text.errors import DataError
from matryoshka_text.evaluation.tasks.beir import missing_files, read_beir


def folder(tmp_path: Path, **files: str) -> Path:
    texts = {
        "corpus": '{"_id": "1", "title": "T", "text": "one"}\n{"_id": "2", "text": "two"}\n',
        "queries": '{"_id": "a", "text": "first"}\n{"_id": "b", "text": "not judged"}\n',
        "qrels": "query-id\tcorpus-id\tscore\na\t2\t1\nz\t1\t1\n",
    }
    texts.update(files)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(texts["corpus"])
    (tmp_path / "queries.jsonl").write_text(texts["queries"])
    (tmp_path / "qrels/test.tsv").write_text(texts["qrels"])
    return tmp_path


def test_judged_queries_and_the_whole_corpus(tmp_path: Path) -> None:
    data = read_beir(folder(tmp_path), "test")
    assert data["corpus"].to_list() == [
        {"id": "1", "title": "T", "text": "one"},
        {"id": "2", "title": "", "text": "two"},
    ]
    assert data["queries"].to_list() == [{"id": "a", "text": "first"}]
    assert data["relevant_docs"] == {"a": {"2": 1}}


def test_gzipped_files_are_the_same(tmp_path: Path) -> None:
    place = folder(tmp_path)
    plain = read_beir(place, "test")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        content = (place / name).read_bytes()
        (place / name).unlink()
        (place / f"{name}.gz").write_bytes(gzip.compress(content))
    zipped = read_beir(place, "test")
    assert zipped["corpus"].to_list() == plain["corpus"].to_list()
    assert zipped["relevant_docs"] == plain["relevant_docs"]


def test_what_is_missing_is_listed(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "queries.jsonl").unlink()
    assert missing_files(place, "dev") == ["queries.jsonl", "qrels/dev.tsv"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"corpus": '{"_id": "1", "body": "x"}\n'},
            r"corpus\.jsonl:1: column 'text' is None; .*Found columns: _id, body",
        ),
        ({"corpus": '{"_id": 1, "text": "x"}\n'}, r"corpus\.jsonl:1: column '_id' is 1; allowed: a string"),
        ({"corpus": '{"_id": "1", "text": "x"}\n' * 2}, r"corpus\.jsonl:2: the _id '1' occurs twice"),
        ({"corpus": "\n"}, r"corpus\.jsonl: is empty"),
        ({"queries": "{oops}\n"}, r"queries\.jsonl:1: is no JSON"),
        ({"queries": "[1]\n"}, r"queries\.jsonl:1: holds list"),
        ({"queries": '{"_id": "y", "text": "x"}\n'}, r"no query of queries\.jsonl is judged"),
        ({"qrels": "a\t2\t1\n"}, r"test\.tsv:1: columns are .*needed: a header line query-id, corpus-id, score"),
        (
            {"qrels": "query-id\tcorpus-id\tscore\na\t2\thigh\n"},
            r"test\.tsv:2: score is 'high'; allowed: a whole number",
        ),
        (
            {"qrels": "query-id\tcorpus-id\tscore\na\t2\t1\na\t1\t1\na\t2\t0\n"},
            r"test\.tsv:4: judges document '2' for query 'a' as 0, a line above as 1; allowed: one judgement a pair",
        ),
        (
            # What is above 0 belongs to a query that is not there.
            {"qrels": "query-id\tcorpus-id\tscore\na\t2\t0\na\t1\t-1\nz\t1\t1\n"},
            r"test\.tsv: scores are -1, 0; at least one above 0",
        ),
    ],
)
def test_faults_have_a_place(tmp_path: Path, files: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_beir(folder(tmp_path, **files), "test")


def test_judgements_of_lost_documents_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_beir(folder(tmp_path, qrels="query-id\tcorpus-id\tscore\na\t2\t1\na\t9\t1\n"), "test")
    assert "1 judgements in qrels/test.tsv name documents that corpus.jsonl lacks" in caplog.text


def test_judged_queries_that_are_not_there_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"{query}\t2\t1\n" for query in ("a", "v", "w", "x", "y"))
    data = read_beir(folder(tmp_path, qrels="query-id\tcorpus-id\tscore\n" + rows), "test")
    assert list(data["relevant_docs"]) == ["a"]
    assert "4 queries judged in qrels/test.tsv are not in queries.jsonl (v, w, x, …): left out" in caplog.text


def test_the_same_judgement_twice_is_one(tmp_path: Path) -> None:
    data = read_beir(folder(tmp_path, qrels="query-id\tcorpus-id\tscore\na\t2\t1\na\t2\t1\n"), "test")
    assert data["relevant_docs"] == {"a": {"2": 1}}
