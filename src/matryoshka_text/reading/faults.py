"""Faults of a data set, collected: the first ten are told, the others counted."""

from matryoshka_text.errors import DataError

__all__ = ["Faults"]


class Faults:
    """What is wrong with one data set."""

    def __init__(self, most: int = 10) -> None:
        self.most = most
        self.count = 0
        self._lines: list[str] = []

    def add(self, place: str, text: str) -> None:
        """Record `place: text`."""
        self.count += 1
        if len(self._lines) < self.most:
            self._lines.append(f"{place}: {text}")

    def raise_any(self) -> None:
        """`DataError` with one line per fault, if there are any."""
        if not self.count:
            return
        more = self.count - len(self._lines)
        raise DataError("\n".join([*self._lines, *([f"and {more} more faults of this data set"] if more else [])]))
