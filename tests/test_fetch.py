"""Data sets over real HTTP, from a small server that speaks the part of the hub's API that a download needs."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars

from matryoshka_text import fetch as fetching
from matryoshka_text.errors import RecipeError, RunError
from matryoshka_text.evaluation.tasks.hub import Wanted, datasets_of, datasets_of_tasks
from matryoshka_text.fetch import MANIFEST, Fetched, fetch, verified_revision
from matryoshka_text.suite import Suite

REVISION = "1" * 40


class Hub:
    """Data sets by name, what was asked for, and names that are gated or stall."""

    def __init__(self) -> None:
        self.sets: dict[str, dict[str, bytes]] = {}
        self.revisions: dict[str, str] = {}
        self.gated: set[str] = set()
        self.stalls: set[str] = set()
        self.lies: set[str] = set()
        self.asked: list[str] = []
        self.released = threading.Event()
        self.address = ""

    def tree(self, repo: str) -> bytes:
        rows = []
        for path, content in self.sets[repo].items():
            oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            row: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": oid}
            if path.endswith(".parquet"):
                digest = hashlib.sha256(content).hexdigest()
                row["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
            rows.append(row)
        return json.dumps(rows).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _send(self, status: int, content: bytes = b"", body: bool = True, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _answer(self, body: bool) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        api = parts[0] == "api"
        repo = "/".join(parts[2:4] if api else parts[1:3])
        if repo not in self.hub.sets:
            return self._send(404, X_Error_Code="RepoNotFound", body=body)
        rest = parts[4:] if api else parts[3:]
        revision = self.hub.revisions.get(repo, REVISION)
        if rest[1] != revision:
            return self._send(404, X_Error_Code="RevisionNotFound", body=body)
        if api:
            return self._send(200, self.hub.tree(repo), Content_Type="application/json")
        if repo in self.hub.gated:
            return self._send(403, X_Error_Code="GatedRepo", body=body)
        return self._file(repo, "/".join(rest[2:]), body)

    def _file(self, repo: str, name: str, body: bool) -> None:
        self.hub.asked.append(f"{self.command} {repo}/{name}")
        if body and f"{repo}/{name}" in self.hub.stalls:
            self.hub.released.wait(300)
        content = self.hub.sets[repo][name]
        etag = hashlib.sha1(content).hexdigest()
        if f"{repo}/{name}" in self.hub.lies:
            content = content[:-1] + b"?"
        self._send(200, content, body, ETag=f'"{etag}"', X_Repo_Commit=self.hub.revisions.get(repo, REVISION))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    hub.sets["mteb/one"] = {
        "README.md": b"---\nconfigs: []\n---\n",
        "data/test.parquet": b"columns",
        ".gitattributes": b"*.parquet",
    }
    hub.sets["mteb/two"] = {"test.jsonl": b'{"text": "a"}\n', "train.jsonl": b'{"text": "b"}\n'}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    hub.address = address
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    disable_progress_bars()
    yield hub
    hub.released.set()
    server.shutdown()
    server.server_close()


def wanted(*repos: str) -> tuple[Wanted, ...]:
    return tuple(Wanted(repo, REVISION, ("Task",)) for repo in repos)


def states(done: tuple[Fetched, ...]) -> list[str]:
    return [one.state for one in done]


def test_the_files_and_their_hashes_are_there_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    lines: list[str] = []
    done = fetch(wanted("mteb/one", "mteb/two"), tmp_path, on_line=lines.append)
    assert states(done) == ["fetched", "fetched"], done
    folder = tmp_path / "mteb/mteb__one"
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert found == {"README.md", "data/test.parquet", MANIFEST}
    assert (folder / "data/test.parquet").read_bytes() == b"columns"
    manifest = json.loads((folder / MANIFEST).read_text())
    digest = hashlib.sha256(b"columns").hexdigest()
    assert (manifest["repo"], manifest["revision"]) == ("mteb/one", REVISION)
    assert manifest["files"]["data/test.parquet"] == digest
    assert {one.name for one in (tmp_path / "mteb").iterdir()} == {"mteb__one", "mteb__two", ".fetch.lock"}
    assert verified_revision(folder) == REVISION
    assert [line[:14] for line in lines[::2]] == ["mteb/one @ 111", "mteb/two @ 111"]
    assert [line[:14] for line in lines[1::2]] == ["[1/2] mteb/one", "[2/2] mteb/two"]


def test_what_is_there_and_unchanged_is_not_asked_for_again(hub: Hub, tmp_path: Path) -> None:
    fetch(wanted("mteb/one"), tmp_path)
    hub.asked.clear()
    assert states(fetch(wanted("mteb/one"), tmp_path)) == ["already there"]
    assert hub.asked == []


def test_a_changed_byte_a_lost_and_a_new_file_are_seen(hub: Hub, tmp_path: Path) -> None:
    folder = fetch(wanted("mteb/two"), tmp_path)[0].folder
    (folder / ".note").write_text("hidden files are no data")
    assert verified_revision(folder) == REVISION
    (folder / "test.jsonl").write_bytes(b'{"text": "c"}\n')
    assert verified_revision(folder) is None
    lines: list[str] = []
    assert states(fetch(wanted("mteb/two"), tmp_path, on_line=lines.append)) == ["fetched"]
    assert "takes the place of 111111111111, or of changed files" in lines[0]
    assert (folder / "test.jsonl").read_bytes() == b'{"text": "a"}\n'
    (folder / "test.jsonl").unlink()
    assert verified_revision(folder) is None
    fetch(wanted("mteb/two"), tmp_path)
    (folder / "validation.jsonl").write_text("{}")
    assert verified_revision(folder) is None


def test_a_folder_that_no_fetch_made_is_not_touched(hub: Hub, tmp_path: Path) -> None:
    mine = tmp_path / "mteb/mteb__two/test.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    (done,) = fetch(wanted("mteb/two"), tmp_path)
    assert done.problem is not None and "is there and has no manifest (found test.jsonl)" in done.problem
    assert mine.read_text() == "mine"
    assert verified_revision(mine.parent) is None


@pytest.mark.parametrize(
    "manifest", ["", "[]", '{"files": 3, "revision": "r"}', '{"files": {"../x": "0"}, "revision": "r"}']
)
def test_a_damaged_manifest_verifies_nothing(tmp_path: Path, manifest: str) -> None:
    (tmp_path / MANIFEST).write_text(manifest)
    assert verified_revision(tmp_path) is None


def test_a_failure_says_why_and_stops_no_other(hub: Hub, tmp_path: Path) -> None:
    hub.gated.add("mteb/one")
    late = Wanted("mteb/two", "2" * 40, ("Late",))
    done = fetch((*wanted("mteb/none", "mteb/one"), late, *wanted("mteb/two")), tmp_path)
    assert states(done) == ["failed", "failed", "failed", "failed"]
    assert "no such data set" in str(done[0].problem)
    assert "gated: accept its terms on https://huggingface.co/datasets/mteb/one" in str(done[1].problem)
    assert f"has no revision {'2' * 40}" in str(done[2].problem)
    assert "Late read it at 222222222222, and one folder holds one revision" in str(done[3].problem)
    assert states(fetch(wanted("mteb/none", "mteb/two"), tmp_path)) == ["failed", "fetched"]
    assert not (tmp_path / "mteb/mteb__one").exists()


def test_bytes_that_are_not_the_listed_ones_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.lies.update({"mteb/one/data/test.parquet", "mteb/two/test.jsonl"})
    done = fetch(wanted("mteb/one", "mteb/two"), tmp_path)
    assert states(done) == ["failed", "failed"]
    assert "data/test.parquet: not the bytes that the hub lists" in str(done[0].problem)
    hub.lies.clear()
    assert states(fetch(wanted("mteb/one", "mteb/two"), tmp_path)) == ["fetched", "fetched"]


def test_a_kill_leaves_no_half_data_set_and_the_next_run_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.stalls.add("mteb/two/train.jsonl")
    # The package without the libraries that its first line brings in: half a minute on a busy machine.
    code = f"""if True:
        import sys, types, matryoshka_text
        from pathlib import Path
        room = types.ModuleType("matryoshka_text.evaluation")
        room.__path__ = [str(Path(matryoshka_text.__file__).parent / "evaluation")]
        sys.modules[room.__name__] = room
        from matryoshka_text.fetch import fetch
        from matryoshka_text.evaluation.tasks.hub import Wanted
        fetch([Wanted(name, {REVISION!r}) for name in ("mteb/one", "mteb/two")], Path(sys.argv[1]))
    """
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0"}
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment)
    try:
        waiting = 0.0
        while not {"GET mteb/two/test.jsonl", "GET mteb/two/train.jsonl"} <= set(hub.asked):
            assert child.poll() is None and waiting < 200, hub.asked
            time.sleep(0.05)
            waiting += 0.05
        time.sleep(0.5)  # the other file's bytes reach the disk
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert verified_revision(tmp_path / "mteb/mteb__one") == REVISION
    assert not (tmp_path / "mteb/mteb__two").exists()
    hub.stalls.clear()
    hub.released.set()
    hub.asked.clear()
    assert states(fetch(wanted("mteb/one", "mteb/two"), tmp_path)) == ["already there", "fetched"]
    assert [line for line in hub.asked if line.startswith("GET")] == ["GET mteb/two/train.jsonl"]
    assert not list((tmp_path / "mteb").glob(".*.part"))


def test_offline_what_is_there_is_found_and_the_rest_is_told(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(wanted("mteb/one"), tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    done = fetch(wanted("mteb/one", "mteb/two"), tmp_path)
    assert states(done) == ["already there", "failed"]
    assert "HF_HUB_OFFLINE is set; unset it" in str(done[1].problem)


def test_a_full_disk_is_told_before_anything_is_loaded(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, needed: int, *, what: str) -> None:
        raise RunError(f"{what} needs {needed} bytes")

    monkeypatch.setattr(fetching, "require_space", full)
    (done,) = fetch(wanted("mteb/two"), tmp_path)
    assert done.problem == f"mteb/two @ {REVISION[:12]} needs 28 bytes"
    assert hub.asked == []


def test_names_that_leave_the_folder_are_not_written(hub: Hub, tmp_path: Path) -> None:
    hub.sets["mteb/two"]["../../outside.jsonl"] = b"x"
    (done,) = fetch(wanted("mteb/two"), tmp_path)
    assert done.state == "fetched"
    assert not list(tmp_path.rglob("outside.jsonl"))


def suite(*tasks: dict[str, str]) -> Suite:
    return Suite.model_validate({"name": "s", "tasks": list(tasks)})


def test_a_suite_names_each_data_set_once() -> None:
    found = datasets_of(suite({"task": "STSBenchmark"}, {"task": "SICK-R"}, {"retrieval": "squad"}))
    assert [one.repo for one in found] == ["mteb/stsbenchmark-sts", "mteb/sickr-sts"]
    assert all(len(one.revision) == 40 for one in found)


def test_what_was_fetched_is_mtebs_own_data_to_a_plan_until_a_byte_changes(hub: Hub, tmp_path: Path) -> None:
    from matryoshka_text.evaluation.tasks.planned import planned_tasks

    named = suite({"task": "STSBenchmark"})
    (one,) = datasets_of(named)
    row = b'{"sentence1": "a cat", "sentence2": "a dog", "score": 2.5}\n'
    hub.sets[one.repo] = {"test.jsonl": row * 3, "validation.jsonl": row}
    hub.revisions[one.repo] = one.revision
    assert states(fetch([one], tmp_path)) == ["fetched"]
    (planned,) = planned_tasks(named, tmp_path)
    assert (planned.official, planned.data) == (True, f"{one.repo}@{one.revision}")  # type: ignore[union-attr]
    task = planned.make()  # type: ignore[union-attr]
    task.load_data()
    assert [len(task.dataset["test"]), task.metadata.dataset["revision"]] == [3, one.revision]
    (tmp_path / "mteb/mteb__stsbenchmark-sts/test.jsonl").write_bytes(row * 2)
    (planned,) = planned_tasks(named, tmp_path)
    assert planned.official is False  # type: ignore[union-attr]


def test_tasks_that_share_a_data_set_share_its_entry() -> None:
    import mteb

    found = datasets_of_tasks([mteb.get_task(name) for name in ("ArxivClusteringP2P", "ArxivClusteringP2P.v2")])
    assert [one.tasks for one in found] == [("ArxivClusteringP2P", "ArxivClusteringP2P.v2")]


def test_benchmarks_and_aggregates_give_their_parts() -> None:
    found = datasets_of(suite({"benchmark": "MTEB(eng, v2)"}, {"task": "CQADupstackRetrieval"}))
    repos = [one.repo for one in found]
    assert {"mteb/banking77", "mteb/stsbenchmark-sts", "mteb/cqadupstack-english"} <= set(repos)
    assert len(set(repos)) == len(repos)
    assert not any(" " in repo for repo in repos)


def test_an_unknown_task_and_benchmark_are_told_with_the_closest() -> None:
    with pytest.raises(RecipeError) as caught:
        datasets_of(suite({"task": "STSBenchmrk"}, {"benchmark": "MTEB(eng, v3)"}))
    first, second = str(caught.value).splitlines()
    assert "tasks[0].task" in first and "mteb has no task 'STSBenchmrk'; did you mean STSBenchmark" in first
    assert "tasks[1].benchmark" in second and "MTEB(eng, v2)" in second
