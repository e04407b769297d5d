"""Texts that components and ranges are taken from: never texts of the task that is scored."""

import gzip
import hashlib
import json
import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matryoshka_text.bundled import bundled
from matryoshka_text.data.draw import plain
from matryoshka_text.errors import DataError
from matryoshka_text.files import expanded
from matryoshka_text.reading import read_texts
from matryoshka_text.suite import Suite

__all__ = ["MOST", "Sample", "read_sample", "texts_within"]

# Components of 768 dims are estimated well from so many texts; encoding them costs seconds.
MOST = 10_000


@dataclass(frozen=True)
class Sample:
    """Distinct texts, and where they are from in words."""

    texts: tuple[str, ...]
    origin: str

    @cached_property
    def digest(self) -> str:
        """sha256 (64 hex digits) over the texts, in order."""
        return hashlib.sha256("\0".join(self.texts).encode("utf-8", "surrogatepass")).hexdigest()

    def shared_with(self, texts: Iterable[str]) -> set[str]:
        """Those of its texts that are among `texts`, but for case and spaces."""
        own: dict[str, list[str]] = {}
        for text in self.texts:
            own.setdefault(plain(text), []).append(text)
        return {one for text in texts for one in own.get(plain(text), ())}

    def without(self, texts: Collection[str]) -> "Sample":
        """The sample less those texts; itself if it has none of them."""
        left = tuple(text for text in self.texts if text not in texts)
        return self if len(left) == len(self.texts) else Sample(left, self.origin)

    def __str__(self) -> str:
        return f"{len(self.texts):,} texts of {self.origin} (sha256 {self.digest[:12]})"


def read_sample(suite: Suite, most: int = MOST) -> Sample:
    """At most `most` texts drawn by the suite's seed from its `sample`, or from the training texts that are bundled.

    `DataError` if there is no such file or fewer than two texts in it.
    """
    if suite.sample is None:
        data = bundled("recipes") / "data"
        found = [*_pairs(data / "pairs/nli.jsonl.gz"), *read_texts(data / "text/train.txt.gz")]
        origin = "the bundled training data (sentence pairs and paragraphs)"
    else:
        path = suite.folder / expanded(suite.sample)
        if not path.is_file():
            raise DataError(f"sample: {path}: there is no such file; give a .txt or .txt.gz file, one text a line")
        found, origin = read_texts(path), path.name
    distinct = list(dict.fromkeys(found))
    if len(distinct) < 2:
        raise DataError(f"sample: {origin}: holds {len(distinct)} different texts; at least two are needed")
    if len(distinct) > most:
        distinct = random.Random(suite.seed).sample(distinct, most)
    return Sample(tuple(distinct), origin)


def _pairs(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield from (row["anchor"], row["positive"])


def texts_within(data: Any) -> Iterator[str]:
    """Every string in a task's loaded data, columns and nested lists included; titles also with their texts."""
    if isinstance(data, str):
        yield data
    elif hasattr(data, "column_names") and not isinstance(data, dict):
        for column in data.column_names:
            yield from texts_within(data[column][:])
        if {"title", "text"} <= set(data.column_names):
            # As mteb joins them.
            yield from (f"{title} {text}" for title, text in zip(data["title"][:], data["text"][:], strict=True))
    elif isinstance(data, dict):
        for part in data.values():
            yield from texts_within(part)
    elif isinstance(data, list):
        for part in data:
            yield from texts_within(part)
