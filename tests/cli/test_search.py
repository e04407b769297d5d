"""`mtext index` and `mtext search` as a user runs them, on a tiny model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from matryoshka_text import MatryoshkaEncoder
from matryoshka_text.cli import app
from matryoshka_text.errors import MtextError
from tests.conftest import WORDS
from tests.search.conftest import clustered


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(done.exception, MtextError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("texts") / "docs.jsonl"
    lines = [{"key": f"d{n}", "text": " ".join(draw.choice(WORDS, 8))} for n in range(300)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def made(tiny_model: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    run("encode", tiny_model, texts, "--out", folder / "vectors")
    said = run("index", folder / "vectors", "--out", folder / "idx", "--id-column", "key", "--recall", 0.8)
    assert "plan   " in said
    assert "Documents stood in for queries" in said
    return folder


def test_a_text_finds_itself(made: Path, texts: Path) -> None:
    line = json.loads(texts.read_text().splitlines()[17])
    first = run("search", made / "idx", line["text"], "-k", 3).splitlines()[0]
    assert first == f"1.0000  d17  {line['text']}"


def test_a_run_file_is_what_brute_force_gives(made: Path, texts: Path, tiny_model: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.csv"
    queries.write_text("id,text\nq1,the cat and the dog\nq2,bank account money\n")
    out = tmp_path / "run.trec"
    run("search", made / "idx", "--queries", queries, "--id-column", "id", "--out", out, "-k", 5, "--exact")
    lines = [line.split() for line in out.read_text().splitlines()]
    assert [line[0] for line in lines] == ["q1"] * 5 + ["q2"] * 5
    assert [int(line[3]) for line in lines] == [1, 2, 3, 4, 5] * 2
    encoder = MatryoshkaEncoder(tiny_model)
    documents = encoder.encode([json.loads(line)["text"] for line in texts.read_text().splitlines()])
    asked = encoder.encode_query(["the cat and the dog", "bank account money"])
    for place, scores in enumerate(asked @ documents.T):
        mine = lines[5 * place : 5 * place + 5]
        best = np.argsort(-scores, kind="stable")[:5]
        np.testing.assert_allclose([float(line[4]) for line in mine], scores[best], atol=2e-6)
        assert {line[2] for line in mine} == {f"d{row}" for row in best}


def test_vectors_without_a_model(tmp_path: Path) -> None:
    vectors = clustered(900, 3)
    np.save(tmp_path / "v.npy", vectors)
    np.save(tmp_path / "q.npy", clustered(40, 4))
    run("index", tmp_path / "v.npy", "--out", tmp_path / "idx", "--queries", tmp_path / "q.npy", "--recall", 0.9)
    run("search", tmp_path / "idx", "--queries", tmp_path / "q.npy", "--out", tmp_path / "run", "-k", 1, "--exact")
    best = (clustered(40, 4) @ vectors.T).argmax(1)
    assert [int(line.split()[2]) for line in (tmp_path / "run").read_text().splitlines()] == best.tolist()
    with pytest.raises(MtextError, match=r"came without a model.*name the one that made them with --model"):
        run("search", tmp_path / "idx", "words")


def test_queries_run_as_many_layers_as_the_documents(tiny_model: Path, texts: Path, tmp_path: Path) -> None:
    run("encode", tiny_model, texts, "--out", tmp_path / "v", "--layers", 1)
    run("index", tmp_path / "v", "--out", tmp_path / "idx", "--no-tune", "--no-rotate")
    line = json.loads(texts.read_text().splitlines()[17])
    assert run("search", tmp_path / "idx", line["text"], "-k", 1).startswith("1.0000  17  ")


def test_rows_without_id_or_text_are_named(made: Path, tmp_path: Path) -> None:
    rows = [{"id": n, "text": "the cat"} for n in range(300)]
    rows[4]["id"], rows[7]["text"] = None, None
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--texts", tmp_path / "d.jsonl", "--id-column", "id", "--no-tune"]
    with pytest.raises(MtextError, match=r"d\.jsonl:5: id .*: found null(.|\n)*d\.jsonl:8: text.*: found null"):
        run("index", made / "vectors", "--out", tmp_path / "new", *words)
    (tmp_path / "q.txt").write_text("the cat\n \n")
    with pytest.raises(MtextError, match="found an empty query in row 2"):
        run("index", made / "vectors", "--out", tmp_path / "new", "--queries", tmp_path / "q.txt")
    assert not (tmp_path / "new").exists()


def test_queries_of_another_model_are_refused(made: Path, tmp_path: Path, tiny_model: Path) -> None:
    other = MatryoshkaEncoder(tiny_model)
    next(other.parameters()).data += 0.01
    other.save(str(tmp_path / "other"))
    with pytest.raises(MtextError, match="has other weights"):
        run("search", made / "idx", "words", "--model", tmp_path / "other")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["search", "IDX"], "found both TEXT and --queries, or neither"),
        (["search", "IDX", " "], "found an empty query"),
        (["search", "IDX", "a", "-k", "0"], "k: found 0"),
        (["search", "IDX", "a", "--out", "run"], "one of --queries and --out"),
        (["search", "VEC", "a"], "index.json: cannot be read as the record of `mtext index`"),
        (["index", "VEC", "--out", "NEW", "--structures", "flat,tree"], "found tree; allowed: flat, hnsw, ivf, pq"),
        (["index", "VEC", "--out", "NEW", "--dims", "8,4"], "dims: found"),
        (["index", "VEC", "--out", "NEW", "--texts", "SHORT"], "found 2 texts for the 300 vectors"),
        (["index", "nowhere", "--out", "NEW"], "there is no such file or folder"),
    ],
)
def test_what_cannot_be_done(made: Path, tmp_path: Path, words: list[str], found: str) -> None:
    (tmp_path / "short.txt").write_text("a\nb\n")
    places = {"IDX": made / "idx", "VEC": made / "vectors", "NEW": tmp_path / "new", "SHORT": tmp_path / "short.txt"}
    with pytest.raises(MtextError, match=found):
        run(*[places.get(word, word) for word in words])
    assert not (tmp_path / "new").exists()


def test_texts_that_changed_since(made: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("the cat\nthe dog\nthe bank\n" * 10)
    run("encode", tiny_model, tmp_path / "t.txt", "--out", tmp_path / "v")
    (tmp_path / "t.txt").write_text("the dog\nthe cat\nthe bank\n" * 10)
    with pytest.raises(MtextError, match=r"has changed since it was encoded .* --no-texts"):
        run("index", tmp_path / "v", "--out", tmp_path / "idx", "--no-tune")
    run("index", tmp_path / "v", "--out", tmp_path / "idx", "--no-tune", "--no-texts")


@pytest.mark.slow
def test_killed_while_building_then_built(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", clustered(20_000, 5))
    command = [sys.executable, "-m", "matryoshka_text", "index", tmp_path / "v.npy", "--out", tmp_path / "idx"]
    command = [str(word) for word in [*command, "--no-tune"]]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    while not list(tmp_path.glob(".idx.*.part")):
        assert started.poll() is None
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert not (tmp_path / "idx").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["idx", "v.npy"]
