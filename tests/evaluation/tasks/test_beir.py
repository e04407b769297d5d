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
            r"corpus\.jsonl: found no column text; .*found columns: _id, body",
        ),
        ({"corpus": '{"_id": 1.5, "text": "x"}\n'}, r"corpus\.jsonl:1: _id \(column '_id'\): found 1\.5 \(float\)"),
        ({"corpus": '{"_id": "1", "text": "x", "title": 5}\n'}, r"corpus\.jsonl:1: title .*found 5 \(int\)"),
        ({"corpus": '{"_id": "1", "text": "x"}\n' * 2}, r"corpus\.jsonl:2: found the _id '1' again"),
        ({"corpus": "\n"}, r"corpus\.jsonl: found no rows"),
        ({"queries": "{oops}\n"}, r"queries\.jsonl:1: found broken JSON"),
        ({"queries": "[1]\n"}, r"queries\.jsonl:1: found \[1\]; allowed: an object"),
        ({"queries": '{"_id": "y", "text": "x"}\n'}, r"no query of queries\.jsonl is judged"),
        (
            {"qrels": "a\t2\t1\nb\t2\t1\n"},
            r"test\.tsv:1: found columns a, 2, 1; needed: a header line query-id",
        ),
        (
            {"qrels": "query-id\tcorpus-id\tscore\na\t2\thigh\n"},
            r"test\.tsv:2: score: found 'high'; allowed: a whole number",
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


@pytest.mark.parametrize(
    ("name", "score"), [("float", "1.0"), ("extra", "1\t"), ("bom", "1"), ("trec", "1"), ("trec_tabs", "1")]
)
def test_judgements_in_the_forms_that_people_have(tmp_path: Path, name: str, score: str) -> None:
    head = "\ufeff" if name == "bom" else ""
    qrels = f"{head}query-id\tcorpus-id\tscore\na\t2\t{score}\n"
    if name.startswith("trec"):
        qrels = "a 0 2 1\n\n" if name == "trec" else "a\t0\t2\t1\n"
    assert read_beir(folder(tmp_path, qrels=qrels), "test")["relevant_docs"] == {"a": {"2": 1}}


def test_ids_may_be_numbers_and_texts_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    corpus = '\ufeff{"_id": 1, "text": "one"}\n{"_id": 2, "text": "two"}\n'
    data = read_beir(folder(tmp_path, corpus=corpus), "test")
    assert data["corpus"]["id"] == ["1", "2"]


@pytest.mark.parametrize("score", ["4294967297", "99999999999999999999", "-2147483648", "1.5", "1_0", "\u0661", "nan"])
def test_judgements_that_measures_cannot_count_are_refused(tmp_path: Path, score: str) -> None:
    with pytest.raises(DataError, match=r"test\.tsv:2: score: found .*; allowed: a whole number from -2147483647 to 2"):
        read_beir(folder(tmp_path, qrels=f"query-id\tcorpus-id\tscore\na\t2\t{score}\n"), "test")


def test_a_broken_line_of_trec_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test\.tsv:2: found 3 fields; allowed: query, iteration, document, score"):
        read_beir(folder(tmp_path, qrels="a 0 2 1\na 0 1\n"), "test")
