"""Different texts, case and blanks aside: all of them, or a sample from a stream of any length."""

import hashlib
import heapq
from collections.abc import Iterable
from operator import itemgetter

__all__ = ["Draw", "different", "plain"]


def different(texts: Iterable[str]) -> list[int]:
    """The place of the first of each text, case and blanks aside."""
    known: dict[str, int] = {}
    for place, text in enumerate(texts):
        known.setdefault(plain(text), place)
    return list(known.values())


class Draw:
    """The `most` texts whose hashes with the seed are the smallest: a fair draw, in which equal texts count once.

    It reads a stream of any length, keeps `most` texts in memory, and draws the same ones in any order of reading.
    """

    def __init__(self, most: int, seed: int) -> None:
        self.read = self.blank = 0
        self._most, self._seed = most, seed.to_bytes(16, "little", signed=True)
        self._kept: dict[int, tuple[int, str, str | None]] = {}
        self._ranks: list[int] = []

    def add(self, text: str, tag: str | None = None) -> None:
        """Count the text, and keep it if its rank is among the smallest, with a tag that does not count."""
        self.read += 1
        compared = plain(text)
        if not compared:
            self.blank += 1
            return
        digest = hashlib.blake2b(compared.encode("utf-8", "surrogatepass"), key=self._seed, digest_size=16).digest()
        rank = int.from_bytes(digest)
        if rank in self._kept or (len(self._ranks) == self._most and rank > -self._ranks[0]):
            return
        self._kept[rank] = (self.read, text, tag)
        heapq.heappush(self._ranks, -rank)
        if len(self._ranks) > self._most:
            del self._kept[-heapq.heappop(self._ranks)]

    def texts(self) -> tuple[str, ...]:
        """Those drawn, in the order in which they were read."""
        return tuple(text for text, _ in self.tagged())

    def tagged(self) -> list[tuple[str, str | None]]:
        """Those drawn with their tags, in the same order."""
        return [(text, tag) for _, text, tag in sorted(self._kept.values(), key=itemgetter(0))]


def plain(text: str) -> str:
    """The text as it is compared: without its case, and with single blanks between words."""
    return " ".join(text.casefold().split())
