"""Vectors from elsewhere (.npy files, folders of `mtext encode`) and damaged indexes, indexed and searched."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.attack.case import Case, Must, odd
from tests.attack.forked import Outcome
from tests.attack.jobs import Job
from tests.attack.recipes import leaves
from tests.attack.world import World

_ROWS, _WIDTH = 60, 32


def indexes(rng: Random, world: World, folder: Path) -> Case:
    """`mtext index` and `mtext search`: refused, or every hit has a cosine and is a document, each once."""
    return rng.choice((_array, _array, _queries, _encoded, _index, _index, _plan))(rng, world, folder)


def _array(rng: Random, world: World, folder: Path) -> Case:
    """An array as documents."""
    what, content, must = _npy(rng)
    _put(rng, folder / "v.npy", content)
    more = [way for way in ("--normalize", "--no-rotate", "--no-tune") if rng.random() < 0.4]
    if "--normalize" in more and what in ("long", "short"):
        must = "any"
    np.save(folder / "q.npy", _unit(5))
    commands = [["index", "v.npy", "--out", "o", *more], _asked("o", "q.npy")]
    return Case(f"documents: {what} {' '.join(more)}", commands, must, _hits(folder), ["o"])


def _queries(rng: Random, world: World, folder: Path) -> Case:
    """An array as queries."""
    shutil.copytree(Job("index", world).finished / "out", folder / "o")
    what, content, must = _npy(rng)
    _put(rng, folder / "q.npy", content)
    # Queries are divided by their length.
    must = "any" if what in ("long", "short", "one row") else must
    return Case(f"queries: {what}", [_asked("o", "q.npy")], must, _hits(folder), ["run.txt"])


def _encoded(rng: Random, world: World, folder: Path) -> Case:
    """A folder of `mtext encode`, one file of it damaged."""
    encoded = folder / "e"
    shutil.copytree(Job("encode", world).finished / "out", encoded)
    what, must = _damaged(rng, rng.choice([encoded / "encoding.json", *sorted(encoded.glob("*.*"))]))
    np.save(folder / "q.npy", _unit(5))
    commands = [["index", "e", "--out", "o", "--no-tune"], _asked("o", "q.npy")]
    return Case(f"encoded: {what}", commands, must, _hits(folder), ["o"])


def _index(rng: Random, world: World, folder: Path) -> Case:
    """An index, one file of it damaged."""
    shutil.copytree(Job(rng.choice(("index", "tune")), world).finished / "out", folder / "o")
    files = [file for file in sorted((folder / "o").rglob("*")) if file.is_file()]
    what, must = _damaged(rng, rng.choice([folder / "o" / "index.json", *files]))
    np.save(folder / "q.npy", _unit(5))
    how = rng.choice(([], ["--exact"]))
    commands = [[*_asked("o", "q.npy"), *how], ["search", "o", "the cat is here", "-k", "3", *how]]
    return Case(f"index: {what}", commands, must, _hits(folder), ["run.txt"])


def _plan(rng: Random, world: World, folder: Path) -> Case:
    """A plan's file with odd values."""
    shutil.copytree(Job("index", world).finished / "out", folder / "o")
    kind = rng.choice(("flat", "hnsw", "ivf", "pq"))
    first = {
        "dim": rng.choice((8, 16, 32)),
        "keep": rng.choice((3, 20, 500)),
        "structure": kind,
        "precision": "float32",
    }
    if kind in ("hnsw", "ivf"):
        first["effort"] = rng.choice((1, 16, 10**6))
    plan: Any = {"stages": [first, {"dim": 32}]}
    place, key, old = rng.choice(list(leaves(plan)))
    place[key] = new = rng.choice((odd(rng), odd(rng), "binary", "int8", "hnsw", "pq", 31, 7, 10**9))
    (folder / "plan.json").write_text(json.dumps(plan))
    np.save(folder / "q.npy", _unit(5))
    what = f"plan: {kind}, {key} from {str(old)[:20]} to {str(new)[:20]!r}"
    return Case(what, [[*_asked("o", "q.npy"), "--plan", "plan.json"]], "any", _hits(folder), ["run.txt"])


def _asked(index: str, queries: str) -> list[str]:
    return ["search", index, "--queries", queries, "--out", "run.txt", "-k", "3"]


def _hits(folder: Path) -> Callable[[Outcome], str | None]:
    """Looks at the run file: three hits a query, other documents, cosines that go down."""

    def look(last: Outcome) -> str | None:
        by_query: dict[str, list[tuple[str, float]]] = {}
        for line in (folder / "run.txt").read_text().splitlines():
            query, _, name, _, score, _ = line.split(" ")
            by_query.setdefault(query, []).append((name, float(score)))
        for hits in by_query.values():
            names, scores = [name for name, _ in hits], [score for _, score in hits]
            if len(hits) > 3 or len(set(names)) != len(names):
                return "a document twice"
            if not all(-1.001 <= score <= 1.001 for score in scores):
                return "a score that is no cosine"
            if scores != sorted(scores, reverse=True):
                return "hits out of order"
        return None if by_query and all(len(hits) == 3 for hits in by_query.values()) else "fewer hits than asked for"

    return look


def _unit(rows: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((rows, _WIDTH)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _npy(rng: Random) -> tuple[str, bytes | None, Must]:
    """What it is, its bytes (None: no regular file), and what must come."""
    unit = _unit(_ROWS)
    holed = unit.copy()
    holed[7] = rng.choice((float("nan"), float("inf"), 0.0, 1e30))
    arrays: list[tuple[str, Any, Must]] = [
        ("objects", np.array([[{"x": 1}, "y"]], dtype=object), "refuse"),
        ("named columns", np.zeros(_ROWS, dtype=[("a", "f4"), ("b", "O")]), "refuse"),
        ("named numbers", np.zeros(_ROWS, dtype=[("a", "f4"), ("b", "i4")]), "refuse"),
        ("complex", unit.astype(np.complex64), "refuse"),
        ("whole numbers", (unit * 100).astype(np.int32), "refuse"),
        ("truth", unit > 0, "refuse"),
        ("text", unit.astype("U"), "refuse"),
        ("times", np.zeros((_ROWS, _WIDTH), dtype="datetime64[s]"), "refuse"),
        ("float16", unit.astype(np.float16), "accept"),
        ("float64", unit.astype(np.float64), "accept"),
        ("long double", unit.astype(np.longdouble), "any"),
        ("big-endian", unit.astype(">f4"), "accept"),
        ("columns first", np.asfortranarray(unit), "accept"),
        ("one dimension", unit[0], "refuse"),
        ("a scalar", np.float32(1), "refuse"),
        ("three dimensions", unit.reshape(_ROWS, 2, -1), "refuse"),
        ("no rows", unit[:0], "refuse"),
        ("no columns", unit[:, :0], "refuse"),
        ("one row", unit[:1], "any"),
        ("a hole", holed, "refuse"),
        ("long", unit * 3, "refuse"),
        ("short", unit * 1e-20, "refuse"),
        ("alike", np.repeat(unit[:1], _ROWS, axis=0), "any"),
    ]
    if rng.random() < 0.6:
        what, array, must = rng.choice(arrays)
        out = io.BytesIO()
        np.save(out, array, allow_pickle=True)
        return what, out.getvalue(), must
    whole = io.BytesIO()
    np.save(whole, unit)
    content = whole.getvalue()
    packed = io.BytesIO()
    np.savez(packed, unit)
    texts: list[tuple[str, bytes | None, Must]] = [
        ("cut", content[: rng.randrange(len(content))], "refuse"),
        ("rows that are not there", _head("(1000000000000, 32)") + bytes(999), "refuse"),
        ("negative rows", _head("(-5, 32)") + bytes(9999), "refuse"),
        ("a huge shape", _head(f"({2**62}, {2**62})") + bytes(999), "refuse"),
        ("a deep header", _head("(" * 5000 + ")" * 5000), "refuse"),
        ("code for a header", _head("__import__('os').system('touch pwned')"), "refuse"),
        ("an archive", packed.getvalue(), "refuse"),
        ("empty", b"", "refuse"),
        ("noise", b"\x93NUMPY" + rng.randbytes(300), "refuse"),
        ("a pickle", b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.", "refuse"),
        ("more behind it", content + b"x" * 100, "any"),
        ("no regular file", None, "refuse"),
    ]
    return rng.choice(texts)


def _head(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text


def _put(rng: Random, path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
        return
    way = rng.choice(("a folder", "a pipe", "a loop", "a device", "nothing"))
    if way == "a folder":
        path.mkdir()
    elif way == "a pipe":
        os.mkfifo(path)
    elif way in ("a loop", "a device"):
        path.symlink_to(path.name if way == "a loop" else "/dev/zero")


def _damaged(rng: Random, file: Path) -> tuple[str, Must]:
    content = file.read_bytes()
    if file.suffix == ".json" and rng.random() < 0.8:
        values = json.loads(content)
        place, key, old = rng.choice(list(leaves(values)))
        place[key] = new = odd(rng)
        file.write_text(json.dumps(values))
        return f"{file.name}: {key} from {str(old)[:20]!r} to {str(new)[:20]!r}", "any"
    if file.suffix == ".npy" and rng.random() < 0.5:
        what, found, _ = _npy(rng)
        file.unlink()
        _put(rng, file, found)
        return f"{file.name}: {what}", "any"
    flipped = bytearray(content)
    for _ in range(rng.choice((1, 3, 30))):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    ways: list[tuple[str, bytes | None]] = [
        ("cut", content[: rng.randrange(len(content))]),
        *[("flipped", bytes(flipped))] * 3,
        ("empty", b""),
        ("noise", rng.randbytes(300)),
        ("no regular file", None),
    ]
    what, found = rng.choice(ways)
    file.unlink()
    _put(rng, file, found)
    return f"{file.name}: {what}", "any"
