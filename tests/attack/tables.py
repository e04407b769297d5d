"""Data files: every format that is read, written in unusual ways and damaged."""

import csv
import gzip
import io
import json
import os
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

from tests.attack.case import ODD, Case, Must
from tests.attack.world import World, rows

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "txt")
_COUNT = 12
# A text that each form can hold, though most need care.
_CARE = (
    'say "no", then go',
    "tab\there",
    "été 猫 🙂",
    "it's; fine",
    " spaces ",
    "a,b,c",
    "'single'",
    "#1",
    "=1+1",
    "NaN",
    "null",
)


def tables(rng: Random, world: World, folder: Path) -> Case:
    """`mtext encode` of one column (the texts' own vectors, if it is taken), `mtext check` and a dry run."""
    form = rng.choice(FORMATS)
    made = [{k: row[k] for k in ("anchor", "positive")} for row in rows(_COUNT)]
    name = f"rows.{form}"
    what, must = "careful texts", "accept"
    if rng.random() < 0.35:
        content = _careful(rng, form, made)
        texts = [row["anchor"] for row in made]
    else:
        what, content, must, texts = _damaged(rng, form, made, folder / name)
    if rng.random() < 0.2 and content is not None and form != "parquet":
        name, content, what = name + ".gz", gzip.compress(content), what + ", gzip"
        if rng.random() < 0.2:
            content, must, what = content[: len(content) // 2], "refuse", what + " cut"
    if content is not None:
        (folder / name).write_bytes(content)
    if texts is not None:
        _clean(folder / "clean.jsonl", texts)
    column = [] if form == "txt" else ["--column", "anchor"]
    encode = ["encode", str(world.model), name, *column, "--out", "o"]
    reference = ["encode", str(world.model), "clean.jsonl", "--column", "anchor", "--out", "reference"]
    after = None if texts is None else lambda last: _same(folder)
    first = [reference, encode] if texts is not None else [encode]
    if form == "txt" or must == "any":
        return Case(f"{form}: {what}", first, must, after, outputs=["o"])
    recipe = {**world.recipe("pairs"), "data": [{"name": "rows", "file": name, "kind": "pairs"}]}
    recipe["batch"] = {"size": 4, "max_length": 16}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    more = [["check", "recipe.yaml"], ["train", "recipe.yaml", "--dry-run"]]
    return Case(f"{form}: {what}", [*more, *first] if rng.random() < 0.5 else [*first, *more], must, after, ["o"])


def _same(folder: Path) -> str | None:
    found, expected = (vectors(folder / name) for name in ("o", "reference"))
    if found.shape != expected.shape:
        return f"{len(found)} vectors for {len(expected)} texts"
    return None if np.abs(found - expected).max() < 1e-5 else "other vectors"


def vectors(folder: Path) -> Any:
    return np.concatenate([np.load(part) for part in sorted(folder.glob("part-*.npy"))])


def _clean(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"anchor": text}) + "\n" for text in texts))


def _careful(rng: Random, form: str, made: list[dict[str, Any]]) -> bytes:
    """The rows in that form, with texts that need care, in one of the ways that programs write it."""
    for row in made:
        if rng.random() < 0.6:
            row["anchor"] = f"{row['anchor']} {rng.choice(_CARE)} end"
    if form in ("csv", "json", "jsonl", "parquet") and rng.random() < 0.3:
        made[3]["anchor"] = "two\nlines"
    if form == "txt":
        for row in made:
            row["anchor"] = row["anchor"].replace("\t", " ")
    ends = rng.choice(("\n", "\r\n"))
    text = _written(rng, form, made, ends)
    if isinstance(text, bytes):
        return text
    if form in ("csv", "json", "txt", "tsv") and rng.random() < 0.3:
        text = text.rstrip("\r\n")
    return (b"\xef\xbb\xbf" if rng.random() < 0.3 else b"") + text.encode()


def _written(rng: Random, form: str, made: list[dict[str, Any]], ends: str = "\n") -> str | bytes:
    if form == "parquet":
        return _parquet(made)
    if form == "txt":
        return "".join(row["anchor"] + ends for row in made)
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) + ends for row in made)
    if form == "json":
        return json.dumps(made, indent=rng.choice((None, 2)), ensure_ascii=rng.random() < 0.5)
    out = io.StringIO()
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    writer = csv.writer(out, delimiter="," if form == "csv" else "\t", quoting=quoting, lineterminator=ends)
    names = list(made[0])
    if rng.random() < 0.5:
        names.reverse()
    writer.writerows([names, *([row[name] for name in names] for row in made)])
    return out.getvalue()


def _parquet(made: list[dict[str, Any]], **types: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    columns = {name: pa.array([row[name] for row in made], types.get(name)) for name in made[0]}
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def _damaged(
    rng: Random, form: str, made: list[dict[str, Any]], path: Path
) -> tuple[str, bytes | None, Must, list[str] | None]:
    """What was done, the content (None: the path is something else), what must come, the texts if it is taken."""
    plain = _written(Random(0), form, made)
    content = plain if isinstance(plain, bytes) else plain.encode()
    kind = rng.choice(("bytes", "bytes", "cell", "cell", "cell", "whole", "path"))
    if kind == "bytes":
        what, content = _bytes(rng, content)
        return what, content, "any", None
    if kind == "path":
        return _path(rng, path)
    if kind == "cell":
        return _cell(rng, form, made)
    junk: list[tuple[str, bytes, Must]] = [
        ("nothing", b"", "refuse"),
        ("blank lines", b"\n\n\n", "any" if form == "txt" else "refuse"),
        ("noise", b"\x80" + rng.randbytes(300), "refuse"),
        ("UTF-16", content.decode("utf-8", "replace").encode("utf-16"), "any" if form == "parquet" else "refuse"),
        ("a zip file", b"PK\x03\x04" + rng.randbytes(200) + b"\xff", "refuse"),
        ("an LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "any"),
        ("deep JSON", b"[" * 100_000, "any" if form in ("txt", "csv", "tsv") else "refuse"),
        ("one long line", b"x" * 5_000_000, "any"),
        ("many columns", ",".join(f"c{i}" for i in range(20_000)).encode() + b"\n1\n", "any"),
    ]
    what, content, must = rng.choice(junk)
    return what, content, must, None


def _bytes(rng: Random, content: bytes) -> tuple[str, bytes]:
    ways = ("cut", "flip", "insert", "drop", "repeat")
    way = rng.choice(ways)
    place = rng.randrange(len(content))
    if way == "cut":
        return "cut", content[:place]
    if way == "flip":
        changed = bytearray(content)
        for _ in range(rng.choice((1, 3, 30))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return "flipped", bytes(changed)
    if way == "insert":
        odd = rng.choice((b"\0", b'"', b"\xff", b"\r", b"\n", b"{", b"\x1a", b"\xe2\x80\xa8"))
        return "inserted", content[:place] + odd + content[place:]
    if way == "drop":
        return "a piece dropped", content[:place] + content[place + rng.randint(1, 40) :]
    return "a piece repeated", content[:place] + content[max(0, place - 50) :]


def _path(rng: Random, path: Path) -> tuple[str, None, Must, None]:
    way = rng.choice(("folder", "pipe", "device", "loop", "missing", "unreadable"))
    if way == "folder":
        path.mkdir()
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "device":
        path.symlink_to("/dev/zero")
    elif way == "loop":
        path.symlink_to(path.name)
    elif way == "unreadable":
        path.symlink_to("/proc/self/mem")
    return f"a {way}", None, "refuse", None


def _cell(rng: Random, form: str, made: list[dict[str, Any]]) -> tuple[str, bytes | None, Must, list[str] | None]:
    """One cell or column of another kind."""
    if form == "parquet":
        return _column(rng, made)
    if form in ("json", "jsonl"):
        odd = rng.choice((*ODD, "\ud800", {"a": [1, {"b": None}]}))
        row = rng.choice(made)
        way = rng.choice(("value", "missing", "extra", "row"))
        must: Must = "any"
        if way == "value":
            row["anchor"] = odd
            must = "any" if isinstance(odd, str) else "refuse"
        elif way == "missing":
            del row["anchor"]
            must = "refuse"
        elif way == "extra":
            row["x"] = odd
        else:
            made[rng.randrange(len(made))] = odd
            must = "refuse"
        lines = (json.dumps(one) for one in made)
        text = "[" + ",".join(lines) + "]" if form == "json" else "\n".join(lines)
        return f"{way} {str(odd)[:20]!r}".encode("ascii", "replace").decode(), text.encode(), must, None
    text = str(_written(Random(0), form, made))
    lines = text.splitlines()
    place = rng.randrange(1, len(lines))
    separator = {"csv": ",", "tsv": "\t", "txt": " "}[form]
    ways: list[tuple[str, str, Must]] = [
        ("a cell more", lines[place] + separator + "more", "any" if form == "txt" else "refuse"),
        ("a cell less", lines[place].split(separator)[0], "any" if form == "txt" else "refuse"),
        ("an open quote", '"' + lines[place], "any"),
        ("a huge cell", "x" * 2_000_000 + separator + "y", "any"),
        ("NUL", "a\0b" + separator + "y", "any"),
        ("an empty cell", separator + "y", "any" if form == "txt" else "refuse"),
        ("a control character", "a\x1b[31mb" + separator + "y", "any"),
    ]
    what, line, must = rng.choice(ways)
    lines[place] = line
    return what, ("\n".join(lines) + "\n").encode(), must, None


def _column(rng: Random, made: list[dict[str, Any]]) -> tuple[str, bytes | None, Must, list[str] | None]:
    import pyarrow as pa

    texts = [row["anchor"] for row in made]
    ways: list[tuple[str, Any, Must]] = [
        ("large strings", pa.array(texts, pa.large_string()), "accept"),
        ("string views", pa.array(texts, pa.string_view()), "accept"),
        ("a dictionary", pa.array(texts).dictionary_encode(), "accept"),
        ("nulls", pa.array([None, *texts[1:]]), "refuse"),
        ("all null", pa.nulls(len(texts)), "refuse"),
        ("numbers", pa.array(range(len(texts))), "refuse"),
        ("not numbers", pa.array([float("nan")] * len(texts)), "refuse"),
        ("bytes", pa.array([text.encode() for text in texts]), "any"),
        ("no UTF-8", pa.array([b"\xff"] * len(texts)).view(pa.string()), "refuse"),
        ("lists", pa.array([[text] for text in texts]), "refuse"),
        ("structs", pa.array([{"text": text} for text in texts]), "refuse"),
        ("times", pa.array([0] * len(texts), pa.timestamp("ns")), "refuse"),
        ("decimals", pa.array([1] * len(texts)).cast(pa.decimal128(20)), "refuse"),
    ]
    what, column, must = rng.choice(ways)
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({"anchor": column, "positive": pa.array([row["positive"] for row in made])}), out)
    return what, out.getvalue(), must, texts if must == "accept" else None
